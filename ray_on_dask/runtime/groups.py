"""Placement groups, as one process sees them: it makes them, and is told how they fare."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ray_on_dask.ids import INDEX
from ray_on_dask.runtime.object_ref import Entry, ObjectRef, ref_to
from ray_on_dask.wire import messages as m
from ray_on_dask.wire.channel import Channel
from ray_on_dask.wire.reactor import Waiter

if TYPE_CHECKING:
    from ray_on_dask.runtime.process import Process

CREATED, REMOVED = "CREATED", "REMOVED"


class Groups:
    """What a process knows of placement groups."""

    def __init__(self, process: Process):
        self.process = process
        #: Last known state of the groups that this process is told of.
        self.states: dict[bytes, str] = {}
        self._waiting: dict[bytes, list[Callable[[str], None]]] = {}

    def new_id(self) -> bytes:
        """An id for a group: this process's name, random bytes, the job."""
        process = self.process
        return bytes.fromhex(process.name) + os.urandom(6) + process.job.to_bytes(4, "little")

    def create(self, message: m.CreateGroup) -> None:
        """Have the control store make a group; returns at once."""
        with self.process.lock:
            self.states[message.id] = "PENDING"
            self.process.to_hub(message)
            self.process.send_out()

    def remove(self, id: bytes) -> None:
        """Have the control store remove a group; returns at once."""
        with self.process.lock:
            if id in self.states:
                self.states[id] = REMOVED
            self.process.to_hub(m.RemoveGroup(id))
            self.process.send_out()

    def on_state(self, channel: Channel, message: m.GroupState) -> None:
        """A group has changed its state, or this is the answer to a question."""
        if message.state == REMOVED:
            self.states.pop(message.id, None)
        elif self.states.get(message.id) == REMOVED:
            return  # said before it heard that this process has removed the group
        else:
            self.states[message.id] = message.state
        if message.state in (CREATED, REMOVED):
            for call in self._waiting.pop(message.id, ()):
                call(message.state)

    def _when_settled(self, id: bytes, call: Callable[[str], None]) -> None:
        """Have `call(state)` called when the group is placed or removed (under the lock)."""
        state = self.states.get(id)
        if state in (CREATED, REMOVED):
            call(state)
            return
        self._waiting.setdefault(id, []).append(call)
        if state is None:
            self.states[id] = "PENDING"
            self.process.to_hub(m.WatchGroup(id))
            self.process.send_out()

    def wait(self, id: bytes, timeout: float | None) -> str:
        """Block until the group is placed or removed; its state, "PENDING" after the timeout."""
        waiter, settled = Waiter(), []

        def call(state: str) -> None:
            settled.append(state)
            waiter.finish()

        with self.process.lock:
            self._when_settled(id, call)
        if not settled:
            self.process.flush()
            self.process.block(waiter, [], timeout)
        with self.process.lock:
            if call in self._waiting.get(id, ()):
                self._waiting[id].remove(call)
        return settled[0] if settled else "PENDING"

    def ready(self, id: bytes, value: bytes) -> ObjectRef[Any]:
        """A ref that has `value` (serialized) once the group is placed; no task is run for it."""
        entry = Entry(self.process.task_ids.next() + INDEX[0])
        ref = ref_to(entry)
        with self.process.lock:
            self._when_settled(id, lambda state: self._complete(entry, state, value))
        return ref

    def _complete(self, entry: Entry, state: str, value: bytes) -> None:
        found = m.Value(m.INLINE, value)
        if state == REMOVED:
            from ray_on_dask.error_serialization import dumps_error
            from ray_on_dask.exceptions import TaskPlacementGroupRemoved

            found = m.Value(m.ERROR, dumps_error(TaskPlacementGroupRemoved()))
        self.process.references.complete(entry, found)
