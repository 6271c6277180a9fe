"""What the examples share: their command line, how they show progress, what the cluster did."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager
from itertools import pairwise
from types import ModuleType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

console = Console(highlight=False)

#: Seconds between two lines of progress where there is no terminal.
LINE_EVERY = 5.0


def runs_on_ray() -> bool:
    """Whether the command line says `--module ray`.

    Asked before the parser runs: the module is there when its decorators are reached.
    """
    return "--module=ray" in sys.argv or ("--module", "ray") in pairwise(sys.argv)


def say(text: str) -> None:
    """Print a line as it is, however long."""
    console.print(text, soft_wrap=True, markup=False)


def parser(description: str, examples: str) -> argparse.ArgumentParser:
    """A parser with the switches that all examples have; `examples` closes its help."""
    made = argparse.ArgumentParser(
        description=description,
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument(
        "--module",
        choices=["ray_on_dask", "ray"],
        default="ray_on_dask",
        help="which implementation of the API to run on (ray_on_dask)",
    )
    made.add_argument("--address", help="of a running cluster; without it one is started here")
    made.add_argument("--num-cpus", type=int, help="of the cluster started here (all there are)")
    made.add_argument("--small", action="store_true", help="a few seconds' worth of the problem")
    return made


class Steps(AbstractContextManager["Steps"]):
    """Progress over `total` steps: a bar on a terminal, now and then a line elsewhere."""

    def __init__(self, title: str, total: int) -> None:
        self.title = title
        self.total = total
        self.done = 0
        self._printed_at = time.perf_counter()
        self._bar: Progress | None = None

    def __enter__(self) -> Steps:
        if console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description:<14}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[note]}"),
                console=console,
            )
            self._bar.start()
            self._task = self._bar.add_task(self.title, total=self.total, note="")
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, count: int = 1, note: str = "") -> None:
        """Count `count` more steps as done; `note` stands behind the figures."""
        self.done += count
        now = time.perf_counter()
        if self._bar is not None:
            self._bar.update(self._task, advance=count, note=note)
        elif self.done == self.total or now - self._printed_at > LINE_EVERY:
            self._printed_at = now
            say(f"{self.title:<14} {self.done:>4}/{self.total}  {note}".rstrip())


class Cluster(AbstractContextManager["Cluster"]):
    """A connection for the time of a `with` block; one that was there before is left alone."""

    def __init__(self, ray: ModuleType, options: argparse.Namespace) -> None:
        self.ray = ray
        self._mine = not ray.is_initialized()
        wanted = {"address": options.address, "num_cpus": options.num_cpus}
        self._arguments = {name: value for name, value in wanted.items() if value is not None}

    def __enter__(self) -> Cluster:
        start = time.perf_counter()
        if self._mine:
            self.ray.init(**self._arguments)
        ready = time.perf_counter() - start
        self.cpus = int(self.ray.cluster_resources()["CPU"])
        self.nodes = sum(node["Alive"] for node in self.ray.nodes())
        say(f"{self.ray.__name__}: ready in {ready:.2f} s with {self.cpus} CPUs")
        return self

    def __exit__(self, *_: object) -> None:
        if self._mine:
            self.ray.shutdown()

    def report(self, tasks: int, pids: Iterable[int]) -> dict[str, Any]:
        """Say what ran where; give the same as figures."""
        used = sorted(set(pids))
        named = ", ".join(map(str, used[:8])) + (", ..." if len(used) > 8 else "")
        say(
            f"cluster: {tasks} tasks in {len(used)} processes (pids {named}) "
            f"on {self.nodes} node{'s' * (self.nodes != 1)}"
        )
        return {"tasks": tasks, "pids": used, "nodes": self.nodes}


def compare(parallel: float, serial: float, same: bool, remark: str) -> float:
    """Print both times in seconds and the speed-up, and give the speed-up."""
    speedup = serial / parallel
    say(
        f"speed-up: {speedup:.2f} ({serial:.1f} s in one process, {parallel:.1f} s on the cluster; "
        f"results {'are the same' if same else 'DIFFER'})\n          {remark}"
    )
    return speedup
