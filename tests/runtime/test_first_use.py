"""What a process makes when it is first needed is made once, however many threads need it.

What makes it is slowed down here, so that all threads come before it is there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

THREADS = 16


def together(call: Callable[[int], Any]) -> list[Any]:
    """What a function gives that many threads call, one a moment after the other."""
    barrier = threading.Barrier(THREADS)

    def run(number: int) -> Any:
        barrier.wait(30)
        time.sleep(number / 500)
        return call(number)

    with ThreadPoolExecutor(THREADS) as threads:
        return list(threads.map(run, range(THREADS)))


def slow(made: Callable[..., Any]) -> Callable[..., Any]:
    """The same, a twentieth of a second later."""

    def late(*args: Any, **kwargs: Any) -> Any:
        time.sleep(0.05)
        return made(*args, **kwargs)

    return late


@pytest.fixture
def ray(ray_session: Any) -> Any:
    return ray_session()


def test_first_puts_of_all_threads_are_in_one_store(
    ray: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray_on_dask.runtime import storing

    monkeypatch.setattr(storing, "Store", slow(storing.Store))

    refs = together(lambda number: ray.put(np.full(50_000, number)))

    assert [int(ray.get(ref).sum()) for ref in refs] == [50_000 * n for n in range(THREADS)]


def test_first_calls_of_a_function_are_calls_of_one_function(
    ray: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray_on_dask.runtime import current

    functions = current.process.functions
    monkeypatch.setattr(functions, "define", slow(functions.define))

    @ray.remote
    def double(x: int) -> int:
        return 2 * x

    refs = together(double.remote)

    assert ray.get(refs) == [2 * n for n in range(THREADS)]


def test_all_threads_have_the_same_way_to_dask(ray: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray_on_dask.runtime import current, dask_interop

    monkeypatch.setattr(dask_interop, "DaskInterop", slow(dask_interop.DaskInterop))

    assert len({id(interop) for interop in together(lambda _: current.process.interop)}) == 1
