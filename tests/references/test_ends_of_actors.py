"""What an actor has returned before it ends of its own will is not lost."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from time import sleep
from typing import Any

import pytest

ROUNDS = 6


@pytest.fixture(scope="module")
def ray(ray_session: Callable[..., Any]) -> Any:
    return ray_session()


class Leaving:
    """Makes objects, then leaves."""

    def make(self) -> Any:
        import ray_on_dask as ray

        return [ray.put("made"), ray.put(bytes(200_000))]

    def bulk(self) -> bytes:
        return bytes(90_000)

    def leave(self) -> None:
        import ray_on_dask as ray

        ray.actor.exit_actor()


class LeavingLoop:
    """Likewise, in an event loop."""

    async def make(self) -> Any:
        return Leaving.make(self)  # type: ignore[arg-type]

    async def leave(self) -> None:
        Leaving.leave(self)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("cls", "options"),
    [(Leaving, {}), (Leaving, {"max_concurrency": 2}), (LeavingLoop, {})],
    ids=["one by one", "threads", "loop"],
)
def test_refs_that_it_has_returned_can_be_read(ray: Any, cls: Any, options: Any) -> None:
    makers = [ray.remote(num_cpus=0, **options)(cls).remote() for _ in range(ROUNDS)]
    ray.get([maker.__ray_ready__.remote() for maker in makers], timeout=60)
    for maker in makers:
        made = maker.make.remote()
        if options:
            ray.wait([made], timeout=20.0)  # calls of threads may overtake each other
        left = maker.leave.remote()
        with pytest.raises(ray.exceptions.ActorDiedError):
            ray.get(left, timeout=20)
        small, large = ray.get(made, timeout=20)
        assert ray.get(small, timeout=20) == "made"
        assert len(ray.get(large, timeout=20)) == 200_000


def test_a_caller_that_is_late_to_look_has_the_results(ray: Any) -> None:
    """It computes while both the results and the news of the end come in."""
    makers = [ray.remote(num_cpus=0)(Leaving).remote() for _ in range(ROUNDS)]
    ray.get([maker.__ray_ready__.remote() for maker in makers], timeout=60)
    made = [maker.make.remote() for maker in makers]
    left = [maker.leave.remote() for maker in makers]
    ray.wait(left, num_returns=1, timeout=0.0)
    lock = ray_lock()
    with lock:
        sleep(2.5)  # no thread of this process handles what comes
    for refs in made:
        small, _ = ray.get(refs, timeout=20)
        assert ray.get(small, timeout=20) == "made"
    gc.collect()


def test_many_bytes_of_results_arrive_at_a_caller_that_is_slow_to_read(ray: Any) -> None:
    """More than sockets hold."""
    maker = ray.remote(num_cpus=0)(Leaving).remote()
    ray.get(maker.__ray_ready__.remote(), timeout=60)
    made = [maker.bulk.remote() for _ in range(100)]
    left = maker.leave.remote()
    ray.wait([left], timeout=0.0)
    with ray_lock():
        sleep(2.5)
    assert all(len(value) == 90_000 for value in ray.get(made, timeout=20))
    with pytest.raises(ray.exceptions.ActorDiedError):
        ray.get(left, timeout=20)


def test_tasks_that_exit_leave_what_others_have_returned_before(ray: Any) -> None:
    @ray.remote
    def make() -> Any:
        return [ray.put("made")]

    @ray.remote(max_retries=0)
    def leave(at_once: bool) -> None:
        if at_once:
            sys.exit(0)

    ray.get([make.remote() for _ in range(20)] + [leave.remote(False) for _ in range(20)])
    made = [make.remote() for _ in range(10)]
    left = [leave.remote(True) for _ in range(4)]
    ray.wait(left, num_returns=1, timeout=0.0)
    with ray_lock():
        sleep(2.5)
    for refs in ray.get(made, timeout=20):
        assert ray.get(refs[0], timeout=20) == "made"


def ray_lock() -> Any:
    from ray_on_dask.runtime import current

    return current.require().lock
