"""Very many objects, and very many refs in one place.

`RAY_ON_DASK_MANY` sets how many stored objects live at once; a release is tried with 100000.
"""

from __future__ import annotations

import gc
import os
from time import monotonic, sleep

import numpy as np
import pytest

from ray_on_dask.runtime import arguments, current, storing

MANY = int(os.environ.get("RAY_ON_DASK_MANY", "10000"))
#: Files and mappings that a process may have, however many objects there are.
FEW = 500


@pytest.fixture(scope="module")
def ray(ray_session):
    return ray_session()


def until(condition, limit=60.0):
    end = monotonic() + limit
    while not condition():
        assert monotonic() < end
        sleep(0.05)


def files_and_mappings(pid):
    with open(f"/proc/{pid}/maps") as file:
        shared = sum("/dev/shm/" in line for line in file)
    return len(os.listdir(f"/proc/{pid}/fd")), shared


@pytest.mark.timeout(240)
def test_very_many_stored_objects_live_at_once(ray, monkeypatch):
    """Small ones are stored here too, for want of memory."""
    for module in (storing, arguments):
        monkeypatch.setattr(module, "INLINE_MAX", 0)
    store = current.process.storing.store
    refs = [ray.put(np.full(16, i, np.int64)) for i in range(MANY)]
    values = ray.get(refs)
    assert all(int(value[0]) == i for i, value in enumerate(values))
    node = ray.nodes()[0]
    pid = next(x["pid"] for x in current.process.asking.ask("nodes"))
    for process in (os.getpid(), pid):
        files, mapped = files_and_mappings(process)
        assert files < FEW and mapped < FEW, (process, files, mapped)
    assert node["Alive"]

    @ray.remote
    def last(arrays):
        return [int(ray.get(ref)[-1]) for ref in arrays]

    assert ray.get(last.remote(refs[::100])) == list(range(0, MANY, 100))
    del refs
    assert all(int(value[-1]) == i for i, value in enumerate(values)), "views hold them"
    del values
    gc.collect()
    until(lambda: store.total_used() == 0)


def test_a_view_outlives_its_ref_under_a_storm_of_puts(ray):
    views = [ray.get(ray.put(np.full(150_000 * (1 + i), i, np.uint8))) for i in range(20)]
    for i in range(1500):
        ray.put(np.full(150_000 + 977 * (i % 300), 77, np.uint8))
    assert all(view.min() == view.max() == i for i, view in enumerate(views))


def test_ten_thousand_refs_in_one_object(ray):
    refs = [ray.put(i) for i in range(10_000)]
    box = ray.put(refs)
    del refs
    again = ray.get(box)
    assert ray.get(again[::500]) == list(range(0, 10_000, 500))

    @ray.remote
    def count(inside):
        return len(inside), ray.get(inside[-1])

    assert ray.get(count.remote(box)) == (10_000, 9_999)
    del again, box
    gc.collect()
    directory = lambda: current.process.asking.ask("stats")["directory"]["entries"]  # noqa: E731
    until(lambda: directory() == 0)


def test_two_thousand_ref_arguments(ray):
    @ray.remote
    def total(*values):
        return sum(values)

    refs = [ray.put(i) for i in range(2_000)]
    assert ray.get(total.remote(*refs)) == sum(range(2_000))


def test_lists_of_refs_fifty_deep(ray):
    ref = ray.put("in the middle")
    for _ in range(50):
        ref = ray.put([ref])

    @ray.remote
    def dig(outer):
        depth = 0
        while isinstance(outer, list):
            outer, depth = ray.get(outer[0]), depth + 1
        return outer, depth

    gc.collect()
    assert ray.get(dig.remote(ref)) == ("in the middle", 50)
    assert ray.get(dig.remote([ref])) == ("in the middle", 51)
    del ref
    directory = lambda: current.process.asking.ask("stats")["directory"]["entries"]  # noqa: E731
    until(lambda: directory() == 0)
