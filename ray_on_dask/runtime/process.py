"""What a driver and an executor have in common: one member of a session.

`Process` holds the lines (to the hub of its node, to executors) and the parts that do the work:
`references` and `storing` (objects), `submitting` and `calling` (tasks and actors that it owns),
`getting` (blocking). All state is guarded by one lock; messages are handled by whichever thread
leads the reactor, under it.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from time import monotonic
from typing import Any

from ray_on_dask.core.resources import plain_names
from ray_on_dask.ids import TaskIds
from ray_on_dask.runtime.actor_calls import ActorCalls
from ray_on_dask.runtime.asking import Asking
from ray_on_dask.runtime.creating import Creating
from ray_on_dask.runtime.function_table import Functions
from ray_on_dask.runtime.getting import Getting
from ray_on_dask.runtime.groups import Groups
from ray_on_dask.runtime.object_ref import Entry, ObjectRef, dropped
from ray_on_dask.runtime.recovery import Recovery
from ray_on_dask.runtime.references import References
from ray_on_dask.runtime.storing import Storing
from ray_on_dask.runtime.streams import Streams
from ray_on_dask.runtime.submitting import Submitting
from ray_on_dask.wire import messages as m
from ray_on_dask.wire.channel import Channel, connect
from ray_on_dask.wire.reactor import Reactor, Waiter

logger = logging.getLogger("ray_on_dask")

#: Seconds between ticks while tasks are out, and while only objects are there.
BUSY_TICK, CALM_TICK = 0.01, 0.2


class Process:
    """One process of a session.

    Parameters
    ----------
    name : str
        Never used before by any process.
    hub : str
        Path of the hub's socket.
    """

    kind = "driver"

    def __init__(self, name: str, hub: str):
        self.name = name
        self.hub_path = hub
        self.lock = threading.RLock()
        self.job = 0
        self.node = ""
        #: Total resources of the cluster when this process joined it, in units.
        self.cluster: dict[str, int] = {}
        #: Records what is launched here, if the job asks for it.
        self.recorder: Any = None
        self._interop: Any = None
        self.config = m.JobConfig()
        self.task_ids = TaskIds(bytes.fromhex(name))
        #: Begins the ids of all objects of this session that this process has made; b"" where
        #: there is only one session.
        self.prefix = b""
        #: Raises a number each session: what was prepared in an earlier one is prepared anew.
        self.session = object()
        #: Likewise for the session and the placement group that is handed down in it.
        self.surroundings: object = self.session
        self.reactor = Reactor(self.tick, self.interval)
        self._hub_out: list[object] = []
        #: Lines to executors that work for this process.
        self.executor_lines: list[Channel] = []
        self._callbacks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._callback_thread: threading.Thread | None = None
        self.closing = False
        self.close_reason = ""
        #: The task that the main thread runs; b"" in a driver, and between two tasks.
        self.current_task = b""
        self.functions = Functions()
        self.references = References(self)
        self.recovery = Recovery(self)
        self.storing = Storing(self)
        self.getting = Getting(self)
        self.submitting = Submitting(self)
        self.calling = ActorCalls(self)
        self.creating = Creating(self)
        self.streams = Streams(self)
        self.asking = Asking(self)
        self.groups = Groups(self)
        self.handlers: dict[type, Callable[[Channel, Any], None]] = {
            m.Results: self.submitting.on_results,
            m.GivenBack: self.submitting.on_given_back,
            m.LeaseEnded: self.submitting.on_lease_ended,
            m.Granted: self.submitting.on_granted,
            m.LeaseLost: self.submitting.on_lease_lost,
            m.LeaseFailed: self.submitting.on_lease_failed,
            m.Infeasible: self.submitting.on_infeasible,
            m.WaitingFor: self.submitting.on_waiting_for,
            m.Yielded: self.streams.on_yielded,
            m.ActorState: self.calling.on_actor_state,
            m.Resolved: self.on_resolved,
            m.NodeLost: self.recovery.on_node_lost,
            **self.storing.handlers(),
            m.Synced: self.asking.on_synced,
            m.Answer: self.asking.on_answer,
            m.GroupState: self.groups.on_state,
        }
        self.hub = Channel(connect(hub), self.reactor, self.on_messages, self.on_hub_closed)

    # -- messages ---------------------------------------------------------------------

    def on_messages(self, channel: Channel, messages: list[m.Message]) -> None:
        """Handle what has come on any line; never raises."""
        with self.lock:
            for message in messages:
                try:
                    self.handlers[type(message)](channel, message)
                except Exception:
                    logger.exception("%s could not handle %s", self.name, type(message).__name__)
            if self._hub_out:
                self.send_out()

    def on_resolved(self, channel: Channel, message: m.Resolved) -> None:
        """The directory answers a subscription."""
        self.references.resolved(message.id, message.value)

    def to_hub(self, message: object) -> None:
        """Queue a message to the hub; it goes at the end of the call or handler in hand.

        From any thread, locked or not: nothing comes between finding the list and appending to it,
        so who takes the list to send it has the message in it, or finds it in the next one.
        """
        self._hub_out.append(message)

    def send_out(self) -> None:
        """Send what is queued for the hub."""
        with self.lock:
            out, self._hub_out = self._hub_out, []
            if out:
                self.hub.send_all(out)

    def on_hub_closed(self, channel: Channel) -> None:
        """The node is gone, and with it this process's session."""
        self.closing = True
        self.close_reason = self.close_reason or self.node_died()
        self.reactor.closed = True
        self.getting.session_over()

    def node_died(self) -> str:
        """What to say when the line to the node is down, and the node has not said why."""
        return f"its node, {self.node[:12]} on this host, has died or was shut down"

    def why_closed(self) -> Exception:
        """The error for calls that can no longer be answered."""
        from ray_on_dask.exceptions import LocalRayletDiedError, RaySystemError

        if self.close_reason:
            return LocalRayletDiedError(f"The session has ended: {self.close_reason}.")
        return RaySystemError("The session was shut down while this call was waiting.")

    # -- time ----------------------------------------------------------------------------

    def interval(self) -> float:
        """Seconds until the next tick is due."""
        if self.submitting.tasks.busy or dropped or self._hub_out or self.calling._dirty:
            return BUSY_TICK
        if self.references.known or self.storing.active or self.calling.down:
            return CALM_TICK
        return -1.0

    def tick(self, now: float) -> None:
        """Look after what nobody calls for."""
        with self.lock:
            self.references.drain()
            self.submitting.tick(now)
            self.storing.tick(now)
            self.send_out()

    def flush(self) -> None:
        """Send all that can be sent: the caller is about to wait."""
        with self.lock:
            self.submitting.flush()
            if dropped:
                self.references.drain()
            if self._hub_out:
                self.send_out()

    @property
    def interop(self) -> Any:
        """What connects this process with Dask; it imports Dask when it is first used."""
        if self._interop is None:
            from ray_on_dask.runtime.dask_interop import DaskInterop

            with self.lock:  # one for all threads: it knows which futures have refs
                self._interop = self._interop or DaskInterop(self)
        return self._interop

    @interop.setter
    def interop(self, interop: Any) -> None:
        self._interop = interop

    # -- what parts ask -----------------------------------------------------------------

    def slots_for(self, resources: dict[str, int]) -> int:
        """How many leases of these resources the cluster could grant at once, as far as known."""
        slots = [
            self.cluster.get(name, 0) // units
            for name, units in plain_names(resources).items() if units > 0
        ]  # fmt: skip
        return max(1, min(slots, default=16))

    def inherited_group(self) -> bytes:
        """The placement group that the calling code hands down to what it launches."""
        return b""

    def placement_group_for(self, call: Any) -> bytes:
        """The placement group that a call's task hands down to its children."""
        return bytes(call.placement_group) if call.captures else b""

    def check_session(self, entry: Entry) -> None:
        """Raise `ValueError` for a ref of a session that has ended."""
        if (
            not entry.id.startswith(self.prefix)
            and self.references.known.get(entry.id) is not entry
        ):
            raise ValueError(
                f"ObjectRef({entry.id.hex()}) is of a session that has ended: its owner is gone."
            )

    def as_ref(self, arg: Any) -> ObjectRef[Any]:
        """A ref for an argument that is one, or is a Dask future."""
        if isinstance(arg, ObjectRef):
            self.check_session(arg._entry)
            return arg
        ref: ObjectRef[Any] = self.interop.ref_of_future(arg)
        return ref

    def as_awaited_ref(self, future: Any) -> ObjectRef[Any]:
        """A ref for a Dask future that the calling thread is going to wait for."""
        self.interop.check_may_wait(future)
        return self.as_ref(future)

    # -- blocking ---------------------------------------------------------------------------

    def block(self, waiter: Waiter, entries: list[Entry], timeout: float | None) -> None:
        """Block the calling thread; an executor lends its CPU meanwhile."""
        self.reactor.wait(waiter, timeout)

    # -- callbacks ----------------------------------------------------------------------------

    def call_back(self, call: Callable[[], None]) -> None:
        """Call something of the user's, in a thread where it may take its time (under the lock)."""
        if self._callback_thread is None:
            thread = threading.Thread(
                target=self._call_callbacks, name="ray_on_dask-callbacks", daemon=True
            )
            thread.start()
            self._callback_thread = thread
        self._callbacks.put(call)

    def _call_callbacks(self) -> None:
        while (call := self._callbacks.get()) is not None:
            try:
                call()
            except Exception:
                logger.exception("a callback failed")
            del call  # and the value in it: the next one may be long in coming

    # -- the end ----------------------------------------------------------------------------------

    def close(self) -> None:
        """Leave the session: every blocked call of this process returns with an error."""
        self.closing = True
        self.getting.session_over()
        self._callbacks.put(None)
        self.hub.flush(1.0)
        self.reactor.close()
        with self.lock:
            self.recovery.close()
        self.storing.close()

    def validate(self) -> None:
        """Assert what must hold between any two calls."""
        with self.lock:
            self.submitting.tasks.validate()
            self.references.validate()
            self.recovery.validate()

    @staticmethod
    def now() -> float:
        """The clock of this process."""
        return monotonic()
