"""``microbenchmark``: how fast tasks, calls and objects are here."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import click

from ray_on_dask.cli.showing import format_option, show


@click.command()
@click.option("--address", metavar="ADDRESS", help="On this cluster; by default a new local one.")
@click.option("--only", metavar="TEXT", envvar="TESTS_TO_RUN",
              help="Rows with this text in their names.")  # fmt: skip
@click.option("--seconds", default=1.0, show_default=True, help="Of measuring, each.")
@format_option
def microbenchmark(address: str | None, only: str | None, seconds: float, form: str) -> None:
    """Measure how fast tasks, calls and objects are on this machine.

    \b
    ray-on-dask microbenchmark
    ray-on-dask microbenchmark --only actor --seconds 3
    """
    import ray_on_dask as ray

    try:
        ray.init(address or "local", log_to_driver=False, configure_logging=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    try:
        rows: list[dict[str, Any]] = [
            {"what": name, "per_second": round(_rate(function, seconds) * times, 2), "unit": unit}
            for name, function, times, unit in _workloads(ray)
            if not only or only in name
        ]
    finally:
        ray.shutdown()
    show(rows, ["what", "per_second", "unit"], form)


def _rate(function: Callable[[], Any], seconds: float) -> float:
    """Calls a second, after a first one that does not count."""
    function()
    count, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds:
        function()
        count += 1
    return count / spent


def _subjects(ray: Any) -> tuple[Any, Any, Any]:
    """A task, an actor and an asynchronous one that do nothing."""

    def small() -> bytes:
        return b"ok"

    class Actor:
        def small(self) -> bytes:
            return b"ok"

    class AsyncActor:
        async def small(self) -> bytes:
            return b"ok"

    return ray.remote(small), ray.remote(Actor), ray.remote(AsyncActor)


def _workloads(ray: Any) -> Iterator[tuple[str, Callable[[], Any], float, str]]:
    """(name, what to do, how many times its unit that counts, the unit)."""
    import numpy as np

    small, actors, asynchronous_actors = _subjects(ray)
    value, array = ray.put(0), np.zeros(100_000_000, dtype=np.int8)
    actor, asynchronous = actors.remote(), asynchronous_actors.remote()
    callees = [actors.remote() for _ in range(os.cpu_count() or 1)]
    yield "get of a small object", lambda: ray.get(value), 1, "calls"
    yield "put of a small object", lambda: ray.put(0), 1, "calls"
    yield "put of 100 MB", lambda: ray.put(array), 0.1, "GB"
    yield "one task and its result", lambda: ray.get(small.remote()), 1, "tasks"
    yield "1,000 tasks", lambda: ray.get([small.remote() for _ in range(1_000)]), 1_000, "tasks"
    yield "one actor call", lambda: ray.get(actor.small.remote()), 1, "calls"
    yield (
        "1,000 calls of an actor",
        lambda: ray.get([actor.small.remote() for _ in range(1_000)]), 1_000, "calls",
    )  # fmt: skip
    yield (
        "1,000 calls of an async actor",
        lambda: ray.get([asynchronous.small.remote() for _ in range(1_000)]), 1_000, "calls",
    )  # fmt: skip
    yield (
        "1,000 calls of an actor a CPU",
        lambda: ray.get([x.small.remote() for x in callees for _ in range(1_000 // len(callees))]),
        1_000 // len(callees) * len(callees), "calls",
    )  # fmt: skip
