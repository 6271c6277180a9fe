"""What is measured: rows of the table, and the workloads that produce them.

A workload is one function ``run(ray, meter)``. It uses the module it is given as ``ray`` and
returns one figure for each of its rows, in their order::

    @workload(rate("tasks_batch", "1,000 tasks, then get", goal=20), suite=Suite.QUICK)
    def tasks_batch(ray, meter):
        ...
        return meter.rate(step, count=1000)

Nothing here starts a cluster or imports Ray; the subjects register when `load` imports them.
"""

from __future__ import annotations

import fnmatch
import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Any

from benchmarks.meter import Meter

#: What a workload returns: one figure, or one for each of its rows.
Figures = float | tuple[float, ...]
Run = Callable[[Any, Meter], Figures]

SUBJECTS = ("tasks", "actors", "async_actors", "objects", "patterns", "scaling", "lifecycle")


class Better(str, Enum):
    """Which way a figure should move."""

    HIGHER = "higher"
    LOWER = "lower"


class Suite(IntEnum):
    """How long a run has to be for a workload to be part of it."""

    QUICK = 0
    STANDARD = 1
    FULL = 2


@dataclass(frozen=True)
class Row:
    """One line of the table of results."""

    name: str
    title: str
    unit: str
    better: Better
    #: What project ÷ Ray has to reach (or the figure itself, if `absolute`); None: for orientation.
    goal: float | None
    #: The goal is on the project's own figure, Ray's does not enter it.
    absolute: bool = False
    #: Ray's published figure (from 64 cores), where there is one.
    published: float | None = None

    def score(self, value: float, anchor: float | None) -> float | None:
        """Give the number that is held against the goal, or None where there is no anchor."""
        if self.absolute:
            return value
        return value / anchor if anchor else None

    def meets(self, value: float, anchor: float | None) -> bool | None:
        """Tell whether `value` reaches the goal, given Ray's figure; None if that is open."""
        score = self.score(value, anchor)
        if self.goal is None or score is None:
            return None
        return self._at_least_as_good(score, self.goal)

    def beats_published(self, value: float) -> bool | None:
        """Tell whether `value` is at least Ray's published figure; None if there is none."""
        if self.published is None:
            return None
        return self._at_least_as_good(value, self.published)

    def _at_least_as_good(self, value: float, mark: float) -> bool:
        return value >= mark if self.better is Better.HIGHER else value <= mark


@dataclass(frozen=True)
class Workload:
    """A function that is run on every module, and the rows it fills."""

    rows: tuple[Row, ...]
    run: Run
    subject: str
    suite: Suite
    #: It starts and ends its cluster itself, in a process that does nothing else.
    own_process: bool
    #: Seconds after which it is given up.
    timeout: float

    @property
    def name(self) -> str:
        """The name of the first row, by which the workload is chosen."""
        return self.rows[0].name

    @property
    def batch(self) -> str:
        """Workloads with the same batch share a process and its cluster."""
        return self.name if self.own_process else self.subject


#: {workload name: workload}, in the order of registration.
WORKLOADS: dict[str, Workload] = {}
#: {workload name: the same workload for plain Dask}, given a `Client` in place of `ray`.
ON_DASK: dict[str, Run] = {}


def rate(
    name: str, title: str, *, goal: float | None, unit: str = "/s", published: float | None = None
) -> Row:
    """Describe a row where more is better, such as calls per second."""
    return Row(name, title, unit, Better.HIGHER, goal, published=published)


def cost(
    name: str, title: str, *, goal: float | None, unit: str = "s", published: float | None = None
) -> Row:
    """Describe a row where less is better, such as seconds or memory."""
    return Row(name, title, unit, Better.LOWER, goal, published=published)


def limit(name: str, title: str, *, goal: float, unit: str, better: Better) -> Row:
    """Describe a row whose goal holds for the figure itself, whatever Ray reaches."""
    return Row(name, title, unit, better, goal, absolute=True)


def workload(
    *rows: Row, suite: Suite = Suite.STANDARD, own_process: bool = False, timeout: float = 120.0
) -> Callable[[Run], Run]:
    """Register the decorated function as the source of `rows`.

    Raises
    ------
    ValueError
        If the name of one of the rows is taken, or there is none.
    """

    def register(run: Run) -> Run:
        subject = run.__module__.rpartition("workloads_")[2]
        _add(Workload(rows, run, subject, suite, own_process, timeout))
        return run

    return register


def on_dask(name: str) -> Callable[[Run], Run]:
    """Register the decorated function as workload `name` for plain Dask."""

    def register(run: Run) -> Run:
        ON_DASK[name] = run
        return run

    return register


def load() -> dict[str, Workload]:
    """Import all subjects and give the workloads by name."""
    for subject in SUBJECTS:
        importlib.import_module(f"benchmarks.workloads_{subject}")
    importlib.import_module("benchmarks.dask_workloads")
    return WORKLOADS


def select(suite: Suite, only: Iterable[str] = ()) -> list[Workload]:
    """Give the workloads of `suite`; with `only`, all whose names contain or match one of these.

    A name is that of a row, or of a subject. What `only` names is chosen whatever the suite.
    """
    patterns = list(only)
    workloads = load().values()
    if not patterns:
        return [w for w in workloads if w.suite <= suite]
    return [w for w in workloads if any(_named(w, pattern) for pattern in patterns)]


def _named(candidate: Workload, pattern: str) -> bool:
    names = [candidate.subject, *(row.name for row in candidate.rows)]
    return any(pattern in name or fnmatch.fnmatch(name, pattern) for name in names)


def _add(new: Workload) -> None:
    taken = {row.name for known in WORKLOADS.values() for row in known.rows}
    names = [row.name for row in new.rows]
    if not names or taken.intersection(names) or len(set(names)) < len(names):
        raise ValueError(f"rows {names} are empty, repeated or registered already")
    WORKLOADS[new.name] = new
