"""Numbers that the functions of an iterator keep while it runs (`util.iter`)."""

from __future__ import annotations

import collections
import time
from contextlib import AbstractContextManager
from typing import Any


class Timer(AbstractContextManager["Timer"]):
    """Adds up how long its `with` blocks took, in seconds."""

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self._began = 0.0

    def __enter__(self) -> Timer:
        self._began = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.count += 1
        self.total += time.perf_counter() - self._began

    @property
    def mean(self) -> float:
        """Of all blocks so far; 0.0 if there was none."""
        return self.total / self.count if self.count else 0.0


class MetricsContext:
    """What functions may write to: all of one iterator's share it."""

    def __init__(self) -> None:
        self.counters: collections.defaultdict[str, int] = collections.defaultdict(int)
        self.timers: collections.defaultdict[str, Timer] = collections.defaultdict(Timer)
        self.info: dict[str, Any] = {}
        #: The actor that the item in hand came from.
        self.current_actor: Any = None


class SharedMetrics:
    """A context that may be exchanged for another: a union's parts write to one."""

    def __init__(self, metrics: MetricsContext | None = None) -> None:
        self.metrics = metrics or MetricsContext()
        self.parents: list[SharedMetrics] = []

    def set(self, metrics: MetricsContext) -> None:
        """Use this context from now on, here and in those that were joined to this one."""
        self.metrics = metrics
        for parent in self.parents:
            parent.set(metrics)

    def get(self) -> MetricsContext:
        """The context in use."""
        return self.metrics
