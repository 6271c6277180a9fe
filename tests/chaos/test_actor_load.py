"""Many actors, many callers, actors that are killed again and again.

Short by default. With `RAY_ON_DASK_SOAK=1` in the environment the figures are the full ones: a
thousand actors, 8 callers of 10,000 calls, 4 callers of 2,000 calls under fire.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from chaos_processes import living, until

pytestmark = pytest.mark.chaos

SOAK = bool(os.environ.get("RAY_ON_DASK_SOAK"))
ACTORS = 1000 if SOAK else 150
ORDER_CALLERS, ORDER_CALLS = (8, 10_000) if SOAK else (4, 400)
FIRE_CALLERS, FIRE_CALLS = (4, 2000) if SOAK else (4, 400)


def wakes(pid):
    """How often the threads of a process have gone to sleep so far."""
    lines = [
        line
        for thread in os.listdir(f"/proc/{pid}/task")
        for line in Path(f"/proc/{pid}/task/{thread}/status").read_text().splitlines()
    ]
    return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary"))


@pytest.mark.timeout(300)
def test_many_actors_are_made_called_and_dropped_and_nothing_is_left(ray, session):
    @ray.remote(num_cpus=0)
    class Actor:
        def pid(self):
            return os.getpid()

    # The first one brings what stays: an executor at hand, cached connections.
    ray.get(Actor.remote().pid.remote())
    until(lambda: len(session.executors) <= 2, "the first actor to end")
    own_files = len(os.listdir("/proc/self/fd"))
    head_files = len(os.listdir(f"/proc/{session.head}/fd"))
    actors = [Actor.remote() for _ in range(ACTORS)]
    pids = ray.get([actor.pid.remote() for actor in actors], timeout=240)
    assert len(set(pids)) == ACTORS

    del actors
    until(lambda: not living(pids), "all actors to end", 60)
    until(
        lambda: (
            len(os.listdir(f"/proc/{session.head}/fd")) <= head_files + 4
            and len(os.listdir("/proc/self/fd")) <= own_files + 4
        ),
        "all files to be closed",
        30,
    )
    left = [
        name for folder in session.directories for name in os.listdir(folder)
        if name.startswith(("x-", "p-"))
    ]  # fmt: skip
    assert len(left) <= 2 * len(session.executors) + 2, left
    until(lambda: ray.available_resources() == ray.cluster_resources(), "the resources", 5)


def test_idle_actors_sleep(ray):
    """A thousand that woke twenty times a second would take a whole core."""

    @ray.remote(num_cpus=0)
    class Plain:
        def pid(self):
            return os.getpid()

    @ray.remote(num_cpus=0)
    class Asynchronous:
        async def pid(self):
            return os.getpid()

    actors = [Plain.remote(), Asynchronous.remote(), Plain.options(max_concurrency=4).remote()]
    pids = ray.get([actor.pid.remote() for actor in actors])
    seconds = 1.5

    def calm():
        before = [wakes(pid) for pid in pids]
        time.sleep(seconds)
        return all(wakes(pid) - was <= 6 * seconds for pid, was in zip(pids, before, strict=True))

    until(calm, "the actors to calm down", 15)


@pytest.mark.timeout(300)
def test_each_callers_calls_are_seen_in_their_order_under_load(ray):
    """Half of the calls wait for an argument that is ready at a random time."""

    @ray.remote(num_cpus=0)
    class Source:
        async def value(self, value, seconds):
            import asyncio

            await asyncio.sleep(seconds)
            return value

    @ray.remote(num_cpus=0)
    class Log:
        def __init__(self):
            self.seen = {}

        def write(self, caller, number):
            self.seen.setdefault(caller, []).append(number)

        def all(self):
            return self.seen

    @ray.remote(num_cpus=0)
    class Caller:
        def __init__(self, log, source, name):
            self.log, self.source, self.name = log, source, name

        def run(self, calls):
            draw = random.Random(self.name)
            ray.get(
                [
                    self.log.write.remote(
                        self.name,
                        self.source.value.remote(number, draw.random() * 0.05)
                        if draw.random() < 0.5
                        else number,
                    )
                    for number in range(calls)
                ]
            )

    log, source = Log.remote(), Source.remote()
    callers = [Caller.remote(log, source, name) for name in range(ORDER_CALLERS)]
    ray.get([caller.run.remote(ORDER_CALLS) for caller in callers], timeout=240)
    assert ray.get(log.all.remote()) == {
        name: list(range(ORDER_CALLS)) for name in range(ORDER_CALLERS)
    }


@pytest.mark.timeout(300)
@pytest.mark.parametrize("retries", [-1, 0])
def test_every_call_returns_once_while_the_actor_is_killed_again_and_again(ray, retries):
    """With retries each call gives its value; without, its value or an error of the actor's."""

    @ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=retries)
    class Target:
        def pid(self):
            return os.getpid()

        def echo(self, value):
            return value

    @ray.remote(num_cpus=0)
    class Caller:
        def run(self, target, calls, name):
            ended = Counter()
            for first in range(0, calls, 50):
                numbers = range(first, min(calls, first + 50))
                refs = [target.echo.remote((name, number)) for number in numbers]
                for number, ref in zip(numbers, refs, strict=True):
                    try:
                        assert ray.get(ref, timeout=60) == (name, number)
                        ended["value"] += 1
                    except ray.exceptions.RayActorError as error:
                        assert "SIGKILL" in str(error), str(error)
                        ended["error"] += 1
                time.sleep(0.02)
            return ended

    target = Target.remote()
    callers = [Caller.remote() for _ in range(FIRE_CALLERS)]
    running = [caller.run.remote(target, FIRE_CALLS, name) for name, caller in enumerate(callers)]
    kills, left = 0, running
    while left:
        _, left = ray.wait(left, num_returns=len(left), timeout=0.1 if not SOAK else 0.2)
        try:
            pid = ray.get(target.pid.options(max_task_retries=0).remote(), timeout=60)
            os.kill(pid, signal.SIGKILL)
            kills += 1
        except (ray.exceptions.RayActorError, ProcessLookupError):
            pass  # between two of its lives
    ended = ray.get(running)
    assert kills >= 2
    assert [sum(counts.values()) for counts in ended] == [FIRE_CALLS] * FIRE_CALLERS
    if retries:
        assert [counts["error"] for counts in ended] == [0] * FIRE_CALLERS
