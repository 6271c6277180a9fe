"""What an executor has run lately, told to the control store in batches that cost little."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ray_on_dask.wire.messages import Task, TaskEvents

if TYPE_CHECKING:
    from ray_on_dask.runtime.executor import Executor

#: Single runs told of in one batch; of the others only their number and time.
RUNS_MAX = 50
#: Seconds between two batches.
EVERY = 0.2


class Events:
    """Collects runs of tasks."""

    def __init__(self, executor: Executor):
        self.executor = executor
        #: (task, name, start, seconds, whether it succeeded): any thread appends, who sends takes
        #: from the front, and it stays the same list; so nothing is counted twice or not at all.
        self._ended: list[tuple[bytes, str, float, float, bool]] = []
        self._next = 0.0
        self._waiting = 0

    def ran(self, task: Task, start: float, seconds: float, ok: bool) -> None:
        """A task has ended."""
        self._ended.append((task.id, task.name, start, seconds, ok))

    @property
    def due(self) -> bool:
        """Whether there is anything new to tell."""
        return bool(self._ended) or self._waiting != self.executor.waiting

    def send(self, now: float, force: bool = False) -> None:
        """Send a batch if it is time (under the lock)."""
        if (force or now >= self._next) and self.due:
            self._next = now + EVERY
            ended = self._ended[:]
            del self._ended[: len(ended)]
            runs = [(id, name, at, at + took, ok) for id, name, at, took, ok in ended[:RUNS_MAX]]
            counts: dict[str, tuple[int, float, int]] = {}
            for _, name, _, seconds, ok in ended:
                number, total, failed = counts.get(name, (0, 0.0, 0))
                counts[name] = (number + 1, total + seconds, failed + (not ok))
            self._waiting = self.executor.waiting
            import os

            self.executor.to_hub(
                TaskEvents(self.executor.job, os.getpid(), runs, counts, self._waiting)
            )
