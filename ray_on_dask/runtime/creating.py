"""Making actors, at the process that does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ray_on_dask.runtime import arguments, failures
from ray_on_dask.runtime.object_ref import Entry, ref_to
from ray_on_dask.wire import messages as m

if TYPE_CHECKING:
    from ray_on_dask.api.actor_handle import ActorHandle, Methods
    from ray_on_dask.runtime.process import Process


class Creating:
    """Sends actors off to the control store when their arguments are there."""

    def __init__(self, process: Process):
        self.process = process
        #: What actors were made with lives as long as they may be made again.
        self._holding: dict[bytes, arguments.Arguments] = {}

    def create(
        self, spec: m.ActorSpec, packed: arguments.Arguments, methods: Methods
    ) -> ActorHandle:
        """A handle of a new actor, which begins its life in the background."""
        from ray_on_dask.api.actor_handle import ActorHandle, facts_of

        process = self.process
        entry = Entry(spec.id, m.INLINE, b"")
        ref = ref_to(entry)
        with process.lock:
            process.calling.known(spec.id)
            process.references.promote(ref)
            pending = arguments.pending_of(packed)
            if packed.dependencies or packed.inner:
                self._holding[spec.id] = packed
            left = [len(pending)]

            def arrived(_: Entry) -> None:
                left[0] -= 1
                if not left[0]:
                    self._send(spec, packed)

            for waited in pending:
                process.references.when_ready(waited, arrived)
            if not pending:
                self._send(spec, packed)
            process.send_out()
        return ActorHandle(spec.id, spec.class_name, methods, facts_of(spec), ref)

    def _send(self, spec: m.ActorSpec, packed: arguments.Arguments) -> None:
        process = self.process
        failed = [
            ref._entry for _, ref in packed.dependencies if ref._entry.kind in (m.ERROR, m.FREED)
        ]
        if failed:
            error = failures.of_init_argument(f"{spec.class_name}.__init__", failed[0])
            process.to_hub(m.ActorStillborn(spec, error))
            return
        task = m.Task(spec.id, spec.function, spec.args)
        arguments.attach(process, task, packed)
        process.to_hub(m.CreateActor(msgspec.structs.replace(spec, dependencies=task.dependencies)))

    def forget(self, actor: bytes) -> None:
        """The actor will not be made again."""
        self._holding.pop(actor, None)
