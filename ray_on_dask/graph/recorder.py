"""Records what a process launches, and tells the control store.

It is put around the methods that launch things, and only where a job asks for it: where nothing is
recorded, nothing is added to a call.
"""

from __future__ import annotations

import threading
from typing import Any

from ray_on_dask.ids import TASK_ID_SIZE
from ray_on_dask.wire.messages import Ask

#: Records sent at a time, and seconds between two times.
BATCH, EVERY = 500, 0.3


class Recorder:
    """Of one process."""

    def __init__(self, process: Any):
        self.process = process
        self._records: list[list[Any]] = []
        self._lock = threading.Lock()

    def install(self) -> None:
        """Record what the process launches from now on."""
        process = self.process
        self._around(process.submitting, "_start", self._task)
        self._around(process.calling, "_enqueue", self._call)
        self._around(process.creating, "create", self._actor)
        put = process.storing.put

        def recorded(value: Any) -> Any:
            ref = put(value)
            task = ref._entry.id[:TASK_ID_SIZE]
            self._add("put", task, "put", process.current_task, 1, [], ref._entry.id)
            return ref

        process.storing.put = recorded
        threading.Thread(target=self._send_often, name="ray_on_dask-graph", daemon=True).start()

    @staticmethod
    def _around(holder: Any, name: str, record: Any) -> None:
        original = getattr(holder, name)

        def recorded(*args: Any) -> Any:
            record(*args)
            return original(*args)

        setattr(holder, name, recorded)

    def _task(self, owned: Any) -> None:
        task = owned.task
        self._add("task", task.id, task.name, owned.parent, task.returns, owned.packed.dependencies)

    def _call(self, call: Any) -> None:
        task = call.task
        self._add("call", task.id, task.name, call.parent, task.returns, call.packed.dependencies,
                  b"", call.actor.id)  # fmt: skip

    def _actor(self, spec: Any, packed: Any, *_: Any) -> None:
        self._add("actor", spec.id, spec.class_name, self.process.current_task, 0,
                  packed.dependencies)  # fmt: skip

    def _add(
        self, kind: str, id: bytes, name: str, parent: bytes, returns: int, dependencies: Any,
        value: bytes = b"", actor: bytes = b"",
    ) -> None:  # fmt: skip
        ids = [ref._entry.id for _, ref in dependencies]
        with self._lock:
            self._records.append([kind, id, name, parent, returns, ids, value, actor])
            full = len(self._records) >= BATCH
        if full:
            self.send()

    def _send_often(self) -> None:
        pause = threading.Event()
        while not pause.wait(EVERY) and not self.process.closing:
            self.send()

    def send(self) -> None:
        """Tell the control store what there is; its answer is dropped."""
        with self._lock:
            records, self._records = self._records, []
        process = self.process
        if records and not process.closing:
            with process.lock:
                process.to_hub(Ask(0, "record_graph", {"job": process.job, "records": records}))
                process.send_out()


def record(process: Any) -> Recorder:
    """Have a process record what it launches."""
    recorder = Recorder(process)
    recorder.install()
    return recorder
