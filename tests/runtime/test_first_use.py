"""What a process makes when it is first needed is made once, however many threads need it.

What makes it is slowed down here, so that all threads come before it is there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
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


def test_functions_with_the_same_resources_are_of_one_scheduling_class(
    ray: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray_on_dask.api import remote_function
    from ray_on_dask.runtime import current

    submitting = current.process.submitting
    strategy_of, all_here = remote_function.strategy_of, threading.Barrier(THREADS)

    def late(*args: Any) -> Any:
        all_here.wait(30)
        return strategy_of(*args)

    monkeypatch.setattr(submitting.tasks, "add_class", slow(submitting.tasks.add_class))
    monkeypatch.setattr(remote_function, "strategy_of", late)

    @ray.remote(num_cpus=0.5)
    def half() -> str:
        return "half"

    @ray.remote(num_cpus=2)
    def both() -> float:
        return float(ray.cluster_resources()["CPU"] - ray.available_resources().get("CPU", 0))

    refs = together(lambda _: half.remote())
    monkeypatch.undo()

    assert ray.get(both.remote()) == 2, "it has the class of another function"
    assert ray.get(refs) == ["half"] * THREADS
    assert len(submitting.tasks.classes) == len(submitting.classes)


def test_what_others_know_of_an_object_is_kept_in_one_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from ray_on_dask.runtime import object_ref

    monkeypatch.setattr(object_ref, "Shared", slow(object_ref.Shared))
    entry = object_ref.Entry(b"o" * 20)

    assert len({id(shared) for shared in together(lambda _: entry.share())}) == 1


def test_a_value_of_a_generator_has_one_entry_for_its_reader_and_for_who_fills_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from ray_on_dask.runtime import streams

    task = SimpleNamespace(id=b"t" * 16, backpressure=0)
    stream = streams.Stream(SimpleNamespace(task=task))
    monkeypatch.setattr(streams, "Entry", slow(streams.Entry))

    assert len({id(entry) for entry in together(lambda _: stream.entry(0))}) == 1


def test_a_dask_future_has_one_ref(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray_on_dask.ids import TaskIds
    from ray_on_dask.runtime import dask_interop

    process = SimpleNamespace(
        task_ids=TaskIds.random(), references=SimpleNamespace(make_known=lambda ref: None)
    )
    interop = dask_interop.DaskInterop(process)  # type: ignore[arg-type]
    written: list[Any] = []
    monkeypatch.setattr(interop, "_write", lambda *what: written.append(what))
    monkeypatch.setattr(dask_interop, "ref_to", slow(dask_interop.ref_to))
    future = SimpleNamespace(key="x", client=object(), add_done_callback=None)

    assert len({id(ref) for ref in together(lambda _: interop.ref_of_future(future))}) == 1
    assert len(written) == 1


def test_threads_that_call_before_there_is_a_session_begin_one(ray: Any) -> None:
    @ray.remote
    def double(x: int) -> int:
        return 2 * x

    ray.shutdown()

    assert ray.get(together(double.remote)) == [2 * n for n in range(THREADS)]
