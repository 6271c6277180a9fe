"""What the control store keeps for people: task runs on the dashboard, errors in Redis."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

from ray_on_dask.core.control import Record
from ray_on_dask.core.members import Blocked
from ray_on_dask.plugins import _dask_compat as dask
from ray_on_dask.wire.messages import ErrorRecord, TaskEvents

#: Runs kept for `timeline`.
RUNS_MAX, BLOCKED_MAX = 100_000, 20_000
#: Failures kept for the dashboard; all are in the error log.
ERRORS_MAX, TEXT_MAX = 300, 20_000
#: Runs on the dashboard when it is opened.
PAST = 2_000


class Records:
    """Takes records as they come; nothing here blocks the loop."""

    def __init__(self, scheduler: Any, session: dict[str, Any]):
        self.scheduler = scheduler
        self.session = session
        #: (job, node, pid, name, task, start, stop, ok, process, actor) of the latest runs.
        self.runs: deque[tuple[int, str, int, str, bytes, float, float, bool, str, str]] = deque(
            maxlen=RUNS_MAX
        )
        #: (job, node, pid, start, stop) of the latest times in which a task was blocked.
        self.blocked: deque[tuple[int, str, int, float, float]] = deque(maxlen=BLOCKED_MAX)
        self.counts: dict[str, list[float]] = {}
        self.writer: Any = None
        #: The latest failures, newest last, and how many of each kind there were.
        self.errors: deque[dict[str, Any]] = deque(maxlen=ERRORS_MAX)
        self.failures: dict[str, int] = {}

    def take(self, record: Record, address: str) -> None:
        """Keep one record."""
        message = record.message
        if isinstance(message, TaskEvents):
            self._ran(message, record, address)
        elif isinstance(message, Blocked):
            now = time.time()
            span = (record.job, record.node, message.pid, now - message.seconds, now)
            self.blocked.append(span)
        elif isinstance(message, ErrorRecord):
            self._failed(message, record.node)

    def _failed(self, message: ErrorRecord, node: str) -> None:
        error = {
            "type": message.kind, "message": message.message, "data": message.data,
            "timestamp": message.timestamp, "job_id": str(message.job),
        }  # fmt: skip
        shown = message.message
        if len(shown) > TEXT_MAX:  # what says most is at the end
            shown = f"{shown[: TEXT_MAX // 4]}\n[…]\n{shown[-TEXT_MAX * 3 // 4 :]}"
        self.errors.append({**error, "message": shown, "node": node})
        self.failures[message.kind] = self.failures.get(message.kind, 0) + 1
        if self.writer is not None:
            self.writer.put(error)

    def _ran(self, events: TaskEvents, record: Record, address: str) -> None:
        who = (events.job, record.node, events.pid)
        for task, name, start, stop, ok in events.runs:
            ran = (name, task, start, stop, ok, record.process, record.actor)
            self.runs.append((*who, *ran))
        for name, (number, seconds, failed) in events.counts.items():
            count = self.counts.setdefault(name, [0, 0.0, 0])
            count[0] += number
            count[1] += seconds
            count[2] += failed
        dask.show_runs(
            self.scheduler, address, events.pid,
            ((f"{name}-{task.hex()}", start, stop, ok)
             for task, name, start, stop, ok in events.runs),
        )  # fmt: skip
        dask.show_counts(
            self.scheduler,
            {name: (n - failed, failed) for name, (n, _, failed) in events.counts.items()},
        )

    def show_past(self, addresses: dict[str, str]) -> None:
        """Somebody looks at the dashboard: show what ran lately, on nodes at these addresses."""
        dask.start_task_stream(self.scheduler)
        for _, node, pid, name, task, start, stop, ok, _, _ in list(self.runs)[-PAST:]:
            run = (f"{name}-{task.hex()}", start, stop, ok)
            dask.show_runs(self.scheduler, addresses.get(node, node), pid, [run])

    def listed(self) -> list[tuple[Any, ...]]:
        """The latest runs, ids in hex digits."""
        return [(*run[:4], run[4].hex(), *run[5:]) for run in self.runs]
