"""`ActorPool`, beyond what the conformance tests ask of it."""

from __future__ import annotations

from typing import Any

import pytest

from ray_on_dask.test_utils import SignalActor
from ray_on_dask.util import ActorPool


@pytest.fixture
def signal(ray: Any) -> Any:
    return SignalActor.remote()


@pytest.fixture
def pool(ray: Any, signal: Any) -> Any:
    @ray.remote(num_cpus=0)
    class Worker:
        def double(self, x: int) -> int:
            return 2 * x

        def double_late(self, x: int) -> int:
            ray.get(signal.wait.remote(x == 0))
            return 2 * x

        def both(self, x: int) -> tuple[int, int]:
            return x, -x

    return ActorPool([Worker.remote() for _ in range(2)])


def double(actor: Any, value: int) -> Any:
    return actor.double.remote(value)


def test_map_submits_at_once_and_not_when_it_is_read(pool: Any) -> None:
    results = pool.map(double, [1, 2, 3])
    assert pool.has_next()
    assert list(results) == [2, 4, 6]


def test_map_drops_what_was_submitted_before(pool: Any) -> None:
    pool.submit(double, 100)
    assert list(pool.map(double, [1, 2])) == [2, 4]
    assert not pool.has_next()


def test_more_work_than_actors_waits_for_a_free_one(pool: Any, signal: Any, ray: Any) -> None:
    """The first call blocks one actor; the other does all the rest meanwhile."""
    results = pool.map_unordered(lambda a, v: a.double_late.remote(v), range(6))
    assert sorted(next(results) for _ in range(5)) == [2, 4, 6, 8, 10]
    ray.get(signal.send.remote())
    assert list(results) == [0]


def test_a_result_that_is_late_can_be_given_up(pool: Any, signal: Any, ray: Any) -> None:
    pool.submit(lambda a, v: a.double_late.remote(v), 0)
    pool.submit(double, 1)
    with pytest.raises(TimeoutError):
        pool.get_next(timeout=0.05, ignore_if_timedout=True)
    assert pool.get_next() == 2
    assert not pool.has_next()
    ray.get(signal.send.remote())


def test_an_int_timeout_is_in_seconds(pool: Any) -> None:
    """`wait` takes ints for milliseconds: a pool does not pass them on as they are."""
    pool.submit(double, 1)
    assert pool.get_next(timeout=30) == 2


def test_calls_with_several_returns_give_lists(pool: Any) -> None:
    pool.submit(lambda a, v: a.both.options(num_returns=2).remote(v), 3)
    assert pool.get_next() == [3, -3]


def test_ordered_and_unordered_results_may_be_taken_in_turn(pool: Any) -> None:
    for value in range(3):
        pool.submit(double, value)
    taken = [pool.get_next_unordered(), pool.get_next(), pool.get_next()]
    assert sorted(taken) == [0, 2, 4]


def test_only_an_idle_actor_can_be_taken_out(pool: Any) -> None:
    one = pool.pop_idle()
    pool.submit(double, 1)
    assert pool.pop_idle() is None
    pool.push(one)
    assert pool.has_free()
    assert pool.get_next() == 2
