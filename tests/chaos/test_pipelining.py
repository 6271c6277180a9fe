"""That several tasks are sent to one executor ahead of time must never show.

Each test first has the owner learn that the function is short, so that it pipelines deeply.
"""

from __future__ import annotations

import os
import time

import pytest

pytestmark = pytest.mark.chaos

#: Seconds for tasks that depend on each other to find each other.
LIMIT = 10.0


@pytest.fixture
def act(ray):
    """A remote function that does what it is told; known to be short."""

    @ray.remote(max_retries=0)
    def act(what="", path="", refs=()):
        end = time.monotonic() + 10.0
        if what == "await":
            while not os.path.exists(path):
                if time.monotonic() > end:
                    return False
                time.sleep(0.001)
        elif what == "write":
            open(path, "w").close()
        elif what == "poll":
            while not ray.wait(list(refs), timeout=0.0)[0]:
                if time.monotonic() > end:
                    return False
        elif what == "sleep":
            time.sleep(0.3)
        elif what == "nest":
            return all(ray.get([act.remote() for _ in range(3)]))
        return True

    assert all(ray.get([act.remote() for _ in range(1000)], timeout=30))
    return act


def test_a_task_may_wait_for_one_that_was_submitted_after_it(ray, act, tmp_path):
    path = str(tmp_path / "file")
    first, second = act.remote("await", path), act.remote("write", path)
    assert ray.get([first, second], timeout=20) == [True, True]


@pytest.mark.parametrize("between", [1, 30, 500])
def test_however_many_tasks_lie_between_them(ray, act, tmp_path, between):
    path = str(tmp_path / "file")
    refs = [act.remote("await", path), *(act.remote() for _ in range(between))]
    refs.append(act.remote("write", path))
    assert all(ray.get(refs, timeout=20))


def test_tasks_meet_by_files_both_ways(ray, act, tmp_path):
    """A writes, waits for B's file; B waits for A's, then writes: each needs an executor."""

    @ray.remote
    def meet(mine, other):
        open(mine, "w").close()
        end = time.monotonic() + 10.0
        while not os.path.exists(other):
            if time.monotonic() > end:
                return False
        return True

    for turn in range(20):
        a, b = (str(tmp_path / f"{name}{turn}") for name in "ab")
        assert ray.get([meet.remote(a, b), meet.remote(b, a)], timeout=20) == [True, True]


def test_a_task_that_polls_another_without_blocking_makes_progress(ray, act):
    """`wait(timeout=0.0)` lends no CPU: the other task must run on the second one."""
    refs = [act.remote()]
    assert ray.get(act.remote("poll", refs=[[refs[0]]][0]), timeout=20)
    slow = act.remote("sleep")
    assert ray.get(act.remote("poll", refs=[slow]), timeout=20)


def test_a_task_that_polls_one_that_it_has_launched_itself_makes_progress(ray):
    @ray.remote
    def child():
        return 1

    @ray.remote
    def parent():
        refs = [child.remote() for _ in range(20)]
        end = time.monotonic() + 10.0
        while time.monotonic() < end:
            ready, _ = ray.wait(refs, num_returns=20, timeout=0.0)
            if len(ready) == 20:
                return True
        return False

    assert ray.get(parent.remote(), timeout=20)


def test_durations_that_were_short_and_become_long_are_learned(ray, act):
    """Two CPUs, four tasks of 0.3 s each: not all four behind each other."""
    start = time.monotonic()
    assert all(ray.get([act.remote("sleep") for _ in range(4)], timeout=20))
    assert time.monotonic() - start < 1.1


def test_a_long_task_among_short_ones_holds_none_of_them_up(ray, act):
    refs = [act.remote() for _ in range(100)]
    long = act.remote("sleep")
    refs += [act.remote() for _ in range(300)]
    start = time.monotonic()
    ray.get(refs, timeout=20)
    assert time.monotonic() - start < 0.25
    assert ray.get(long, timeout=20)


def test_tasks_behind_one_that_blocks_run_elsewhere(ray, act, tmp_path):
    """The followers of a task in `get` go back to their owner at once."""
    path = str(tmp_path / "file")

    @ray.remote
    def blocks(refs):
        return ray.get(refs[0])

    waits = act.remote("await", path)
    refs = [blocks.remote([waits]) for _ in range(4)]
    assert ray.get(act.remote("write", path), timeout=20)
    assert all(ray.get(refs, timeout=20))


def test_nested_tasks_of_short_ones(ray, act):
    assert all(ray.get([act.remote("nest") for _ in range(100)], timeout=60))


def test_a_driver_that_only_polls_gets_its_results(ray, act):
    refs = [act.remote() for _ in range(50)]
    end = time.monotonic() + LIMIT
    while len(ray.wait(refs, num_returns=50, timeout=0.0)[0]) < 50:
        assert time.monotonic() < end
