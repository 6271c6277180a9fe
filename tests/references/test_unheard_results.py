"""Results that are stored, and of which their owner never hears, do not stay."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from time import monotonic, sleep
from typing import Any

import numpy as np
import pytest

from ray_on_dask.exceptions import RayError
from ray_on_dask.runtime import current

SIZE = 1_000_000


@pytest.fixture(scope="module")
def ray(ray_session: Callable[..., Any]) -> Any:
    return ray_session()


@pytest.fixture(autouse=True)
def all_comes_back(ray: Any) -> Iterator[None]:
    store = current.require().storing.store
    before = store.total_used()
    yield
    until(lambda: store.total_used() <= before)


def until(condition: Callable[[], bool]) -> None:
    end = monotonic() + 10.0
    while not condition():
        assert monotonic() < end
        sleep(0.02)


class Deadly:
    """Kills who pickles it, after all that is to be sent to the node was sent."""

    def __reduce__(self) -> Any:
        process = current.require()
        process.send_out()
        process.hub.flush(5.0)
        os.kill(os.getpid(), signal.SIGKILL)


def test_one_whose_executor_died_before_it_told(ray: Any) -> None:
    @ray.remote(num_returns=2, max_retries=0)
    def make() -> Any:
        return np.zeros(SIZE, np.uint8), Deadly()

    for ref in make.remote():
        with pytest.raises(RayError):
            ray.get(ref, timeout=20)


def test_what_its_executor_told_in_time_stays(ray: Any) -> None:
    @ray.remote(num_cpus=0)
    class Maker:
        def make(self) -> np.ndarray:
            return np.full(SIZE, 7, np.uint8)

    maker = Maker.remote()
    made = [maker.make.remote() for _ in range(5)]
    ray.wait(made, num_returns=5, timeout=20.0)
    ray.kill(maker)
    unheard = current.require().storing.unheard
    until(lambda: bool(unheard))
    until(lambda: not unheard)
    assert all(int(array.min()) == 7 for array in ray.get(made, timeout=20))


def test_one_of_a_call_that_was_cancelled(ray: Any) -> None:
    @ray.remote(num_cpus=0, max_concurrency=2)
    class Slow:
        def make(self) -> np.ndarray:
            sleep(0.5)
            return np.zeros(SIZE, np.uint8)

    slow = Slow.remote()
    ray.get(slow.__ray_ready__.remote(), timeout=20)
    made = slow.make.remote()
    sleep(0.2)
    ray.cancel(made)
    with pytest.raises(RayError):
        ray.get(made, timeout=20)
