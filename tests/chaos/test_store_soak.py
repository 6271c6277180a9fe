"""Objects of all sizes are put, read, passed on and dropped while processes are killed.

`RAY_ON_DASK_SOAK` sets for how many seconds; a release is tried with 600.
"""

from __future__ import annotations

import gc
import os
import random
import signal
from time import monotonic, sleep

import numpy as np
import psutil
import pytest

from ray_on_dask.runtime import current

SECONDS = float(os.environ.get("RAY_ON_DASK_SOAK", "15"))
CAPACITY = 512 << 20
#: The largest object, as a share of the store.
LARGEST = CAPACITY // 2
KILL_EVERY = 2.0

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(int(SECONDS) + 150)]


@pytest.fixture
def ray(ray_session):
    return ray_session(num_cpus=4, object_store_memory=CAPACITY)


def size_of(rng):
    """From one byte to the largest, each power of two as likely as the other; few very large."""
    bits = rng.uniform(0, 27) if rng.random() < 0.97 else rng.uniform(27, 28)
    return min(int(2**bits), LARGEST)


def make(seed, size):
    """An array whose content tells whether it is whole."""
    return np.resize(np.arange(seed % 200, seed % 200 + 251, dtype=np.uint8), size)


def check(array, seed, size):
    assert len(array) == size, (seed, size, len(array))
    for at in {0, size // 2, size - 1, seed % size}:
        assert array[at] == (seed % 200 + at % 251) % 256, (seed, size, at, array[at])


def play(seconds, seed):
    """What a task does until its time is over; how many objects it has made."""
    import ray_on_dask as ray

    rng, kept, made = random.Random(seed), {}, 0
    views = []

    @ray.remote
    def passed_on(array, seed, size):
        check(array, seed, size)
        return make(seed + 1, size)

    end = monotonic() + seconds
    while monotonic() < end:
        number, size = rng.randrange(1 << 30), size_of(rng)
        kept[number] = (ray.put(make(number, size)), size)
        made += 1
        chosen = rng.choice(list(kept))
        ref, size = kept[chosen]
        what = rng.random()
        if what < 0.5:
            value = ray.get(ref)
            check(value, chosen, size)
            if what < 0.1 and size < 4 << 20:
                views.append((value, chosen, size))
            del value
        elif what < 0.6:
            value = ray.get(passed_on.options(max_retries=20).remote(ref, chosen, size))
            check(value, chosen + 1, size)
            del value
        del ref
        while len(kept) > 20 or sum(size for _, size in kept.values()) > 400 << 20:
            kept.pop(rng.choice(list(kept)))
        if len(views) > 10:
            for value, chosen, size in views:
                check(value, chosen, size)
            views.clear()
    return made


def executors():
    return {
        name: row[2]
        for name, row in current.process.asking.ask("stats")["members"].items()
        if row[0] == "executor"
    }


def footprint(head):
    """What must be as it was when all is over: bytes, keys, descriptors; and memory, nearly."""
    stats = current.process.asking.ask("stats")["directory"]
    me = psutil.Process()
    return {
        "used": current.process.storing.store.total_used(),
        "entries": stats["entries"], "holds": stats["holds"],
        "objects": current.process.asking.ask("figures").popitem()[1]["store"]["objects"],
        "files": me.num_fds(), "head files": head.num_fds(),
        "head MB": head.memory_info().rss >> 20, "MB": me.memory_info().rss >> 20,
    }  # fmt: skip


def test_objects_under_fire(ray):
    rng = random.Random(5)
    task = ray.remote(play)
    ray.get(task.options(max_retries=20).remote(1.0, 0))  # all is loaded, files are open
    play(1.0, 1)
    gc.collect()
    sleep(3.0)
    head = psutil.Process(next(x["pid"] for x in current.process.asking.ask("nodes")))
    before = footprint(head)
    end, made, killed = monotonic() + SECONDS, 0, 0
    while monotonic() < end:
        left = max(1.0, end - monotonic())
        four = [
            task.options(max_retries=1000).remote(min(left, 20.0), rng.randrange(1 << 30))
            for _ in range(4)
        ]
        while len(ray.wait(four, num_returns=4, timeout=0.0)[0]) < 4:
            made += play(KILL_EVERY, rng.randrange(1 << 30))
            if monotonic() < end:
                pids = [pid for pid in executors().values() if pid]
                os.kill(rng.choice(pids), signal.SIGKILL)
                killed += 1
            if monotonic() > end + 100:
                pytest.fail("the tasks do not end")
        made += sum(ray.get(four))
    del four
    gc.collect()
    limit = monotonic() + 40
    # The driver has a line to each executor that lives, and the head has a few.
    room = {"files": 1, "head files": 4}
    while True:
        after, lines = footprint(head), len(executors())
        exact = ("used", "entries", "holds", "objects", "files", "head files")
        if all(after[key] <= before[key] + room.get(key, 0) * lines for key in exact):
            break
        assert monotonic() < limit, f"{before}\n{after}\n{lines} executors"
        sleep(0.5)
    print(f"\n{made} objects, {killed} processes killed; before {before}, after {after}")
    assert after["head MB"] <= before["head MB"] + 150 and after["MB"] <= before["MB"] + 150
    assert killed >= SECONDS / KILL_EVERY / 4
