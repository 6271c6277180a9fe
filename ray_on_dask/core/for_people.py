"""Messages that the control store only hands on for people to see: output, failures, what ran."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ray_on_dask.core import instructions as i
from ray_on_dask.core.members import Record
from ray_on_dask.wire import messages as m

if TYPE_CHECKING:
    from ray_on_dask.core.control import ControlStore


class ForPeople:
    """Handles them for a control store."""

    def __init__(self, store: ControlStore):
        self.store = store

    def table(self) -> dict[type, Callable[[str, Any, float], list[Any]]]:
        """{message: its handler}."""
        return {
            m.LogLines: self._log_lines,
            m.ErrorRecord: self._error_record,
            m.TaskEvents: self._task_events,
        }

    def _log_lines(self, sender: str, msg: m.LogLines, now: float) -> list[Any]:
        self.store.tally.logs.take(sender, msg)
        job = self.store.jobs.get(msg.job)
        if job is None or job.ended or not job.config.log_to_driver:
            return []
        return [i.Send(job.driver, msg)]

    def _error_record(self, sender: str, msg: m.ErrorRecord, now: float) -> list[Any]:
        out: list[Any] = [Record(msg, self.store.node_of(sender), msg.job)]
        job = self.store.jobs.get(msg.job)
        if job is not None and not job.ended:
            out.append(i.Send(job.driver, msg))
        return out

    def _task_events(self, sender: str, msg: m.TaskEvents, now: float) -> list[Any]:
        node = self.store.node_of(sender)
        if node != sender:  # else it is gone already
            self.store.tally.ran(sender, msg)
        actor = self.store.tally.actor_of.get(sender, b"")
        return [Record(msg, node, msg.job, sender, actor.hex())]
