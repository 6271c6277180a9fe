"""Calls of actors' methods at their caller: in order, straight to the actor's process."""

from __future__ import annotations

import functools
from collections import deque
from typing import TYPE_CHECKING, Any

from ray_on_dask.ids import INDEX, index_bytes
from ray_on_dask.runtime import arguments, failures
from ray_on_dask.runtime.lines import open_line
from ray_on_dask.runtime.object_ref import Entry, ref_to
from ray_on_dask.wire import messages as m
from ray_on_dask.wire.channel import Channel

if TYPE_CHECKING:
    from ray_on_dask.runtime.process import Process

#: Calls that are collected while the line is busy, before they are sent without being asked for.
BATCH = 32
#: Seconds after which the control store is asked of an actor whose line went down.
DOWN_GRACE = 2.0


class Call:
    """One call of a method, until its result is there."""

    __slots__ = (
        "actor", "data", "exceptions", "lease", "missing", "packed", "parent", "retries", "returns",
        "sent", "state", "stream", "task", "urgent",
    )  # fmt: skip

    def __init__(self, actor: CalledActor, task: m.Task, packed: arguments.Arguments):
        self.actor = actor
        self.task = task
        self.packed = packed
        self.returns: list[Entry] = []
        self.retries = 0
        #: `retry_exceptions` of the method.
        self.exceptions: Any = False
        self.missing = 0
        self.sent = False
        self.stream: Any = None
        self.parent = b""
        #: For those who look at tasks: an actor's call needs no lease.
        self.lease = True


class CalledActor:
    """What one caller knows of one actor."""

    def __init__(self, id: bytes):
        self.id = id
        self.state = "UNKNOWN"
        self.incarnation = -1
        self.process = ""
        self.error = b""
        #: The latest incarnation that this process has had killed: no calls go there any more.
        self.barred = -1
        self.line: Channel | None = None
        #: Whether the line goes to another host, by way of the nodes; and news of the actor's end
        #: that came while results may still be on that way.
        self.far = False
        self.ending: m.ActorState | None = None
        #: Calls not sent yet, and sent but not answered, in order.
        self.queue: deque[Call] = deque()
        self.aboard: dict[bytes, Call] = {}
        self.out_of_order = False
        self.max_pending = -1

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        return not self.queue and not self.aboard


class ActorCalls:
    """The calls of one process."""

    def __init__(self, process: Process):
        self.process = process
        self.actors: dict[bytes, CalledActor] = {}
        #: {actor whose line went down while it was alive, as far as known here: since when}.
        self.down: dict[CalledActor, float] = {}
        self._dirty: set[CalledActor] = set()

    @property
    def busy(self) -> bool:
        """Whether any call has no result yet."""
        return any(not actor.idle for actor in self.actors.values())

    def known(self, id: bytes) -> CalledActor:
        """The actor's record; the control store is asked to tell of it when it is new."""
        actor = self.actors.get(id)
        if actor is None:
            actor = self.actors[id] = CalledActor(id)
            self.process.to_hub(m.WatchActor(id))
        return actor

    # -- calling ---------------------------------------------------------------------

    def call(self, actor_id: bytes, task: m.Task, packed: arguments.Arguments, plan: Any) -> Any:
        """Make a call; its ref, refs, generator, or None.

        Parameters
        ----------
        plan : MethodPlan
            `retries`, `exceptions`, `out_of_order`, `max_pending` and the handle's `ref`.
        """
        with self.process.lock:
            actor = self.actors.get(actor_id) or self.known(actor_id)
            actor.out_of_order = plan.out_of_order
            if 0 <= plan.max_pending <= len(actor.queue) + len(actor.aboard):
                from ray_on_dask.exceptions import PendingCallsLimitExceeded

                raise PendingCallsLimitExceeded(
                    f"{task.name} was not called: the actor has {plan.max_pending} calls pending, "
                    "its max_pending_calls. Wait for some of them, or raise the limit."
                )
            call = Call(actor, task, packed)
            call.retries, call.exceptions = plan.retries, plan.exceptions
            call.parent = self.process.current_task
            if plan.ref is not None:
                packed.handle = plan.ref
            if task.returns == 1 and not task.flags & m.STREAM:
                entry = Entry(task.id + INDEX[0], data=call)
                call.returns = [entry]
                out: Any = ref_to(entry)
            else:
                out = self._returns(call)
            self._enqueue(call)
            if self.process._hub_out:
                self.process.send_out()
        return out

    def call_again(self, call: Call) -> None:
        """Make a call that has ended once more: what it gave back is lost."""
        call.sent, call.missing = False, 0
        self._enqueue(call)

    def _returns(self, call: Call) -> Any:
        task = call.task
        if task.flags & m.STREAM:
            return self.process.streams.open(call)
        call.returns = [Entry(task.id + index_bytes(i), data=call) for i in range(task.returns)]
        return [ref_to(entry) for entry in call.returns] or None

    def _enqueue(self, call: Call) -> None:
        actor = call.actor
        if actor.state == "DEAD":
            self.fail(call, actor.error)
            return
        if not call.packed.dependencies and actor.line is not None and actor.idle:
            self._send_one(actor, actor.line, call)
            return
        if call.packed.dependencies:
            pending = arguments.pending_of(call.packed)
            call.missing = len(pending)
            for entry in pending:
                self.process.references.when_ready(entry, functools.partial(self._arrived, call))
        actor.queue.append(call)
        if actor.line is not None and not call.missing:
            if not actor.aboard or len(actor.queue) >= BATCH:
                self.send(actor)
            else:
                self._dirty.add(actor)

    def _arrived(self, call: Call, _: Entry) -> None:
        call.missing -= 1
        if not call.missing:
            self.send(call.actor)

    def send(self, actor: CalledActor) -> None:
        """Send what can be sent, in order."""
        line, queue = actor.line, actor.queue
        if line is None or not queue:
            return
        batch: list[m.Task] = []
        waiting: list[Call] = []
        while queue:
            call = queue[0]
            if call.missing:
                if not actor.out_of_order:
                    break
                waiting.append(queue.popleft())
                continue
            queue.popleft()
            if self._blame_arguments(call):
                continue
            if not call.sent:
                call.sent = True
                arguments.attach(self.process, call.task, call.packed)
            actor.aboard[call.task.id] = call
            batch.append(call.task)
        queue.extendleft(reversed(waiting))
        if batch:
            if self.process._hub_out:
                self.process.send_out()
            line.send(m.Push(0, batch))

    def _send_one(self, actor: CalledActor, line: Channel, call: Call) -> None:
        """Send a call that has nothing to wait for, to an actor that has nothing to do."""
        if not call.sent:
            call.sent = True
            if call.packed.inner:
                arguments.attach(self.process, call.task, call.packed)
        actor.aboard[call.task.id] = call
        if self.process._hub_out:
            self.process.send_out()
        line.send(m.Push(0, [call.task]))

    def _blame_arguments(self, call: Call) -> bool:
        for _, ref in call.packed.dependencies:
            if ref._entry.kind in (m.ERROR, m.FREED):
                error, _kept = failures.of_argument(call.task.name, ref._entry)
                self.fail(call, error)
                return True
        return False

    def flush(self) -> None:
        """Send what was collected."""
        while self._dirty:
            self.send(self._dirty.pop())

    # -- results -------------------------------------------------------------------------

    def on_results(self, channel: Channel, message: m.Results) -> None:
        """Calls have ended."""
        complete = self.process.references.complete
        actor = channel.state_actor
        for result in message.results:
            call = actor.aboard.pop(result.task, None) if actor is not None else None
            if call is None:
                self.process.references.refuse(result)
                continue
            if result.status == m.DONE:
                for entry, value in zip(call.returns, result.values, strict=False):
                    complete(entry, value)
                if call.stream is not None:
                    self.process.streams.ended(call, result)
                if call.task.attempt:
                    self.process.recovery.over(call)
            else:
                error = failures.of_result(self.process.references, result)
                if self._again(call, result):
                    actor.queue.appendleft(call)
                else:
                    self.fail(call, error)
        if self.process.references.taken:
            self.process.asking.acknowledge(channel)
        if actor is not None and actor.queue:
            self.send(actor)

    def _again(self, call: Call, result: m.Result) -> bool:
        if result.status != m.FAILED or not call.exceptions or not call.retries:
            return False
        if call.exceptions is not True:
            from ray_on_dask.error_serialization import loads_error

            if not isinstance(loads_error(result.values[0].data), tuple(call.exceptions)):
                return False
        return self._charge(call)

    @staticmethod
    def _charge(call: Call) -> bool:
        if not call.retries:
            return False
        if call.retries > 0:
            call.retries -= 1
        call.task.attempt += 1
        return True

    def fail(self, call: Call, error: bytes | m.Value) -> None:
        """All values of the call are this error."""
        value = m.Value(m.ERROR, error) if isinstance(error, bytes) else error
        for entry in call.returns:
            self.process.references.complete(entry, value)
        if call.stream is not None:
            self.process.streams.failed(call, value)
        if call.task.attempt:
            self.process.recovery.over(call, value)

    # -- life of the actor ------------------------------------------------------------------

    def on_actor_state(self, channel: Channel, message: m.ActorState) -> None:
        """The control store tells of an actor."""
        actor = self.actors.get(message.actor)
        if actor is None or message.incarnation < actor.incarnation or actor.state == "DEAD":
            return
        if not self._hears_out(actor, message):
            self._enter(actor, message)

    def _hears_out(self, actor: CalledActor, message: m.ActorState) -> bool:
        """Whether what an actor of another host has said before its end may still come."""
        if actor.ending is None and message.state == "DEAD" and actor.far and actor.aboard:
            if actor.line is None:
                return False
            actor.ending = message
            self.down[actor] = self.process.now()
        return actor.ending is not None

    def _enter(self, actor: CalledActor, message: m.ActorState) -> None:
        """The actor is in this state now."""
        was_down = self.down.pop(actor, None) is not None
        if message.incarnation > actor.incarnation or message.state != "ALIVE" or was_down:
            self._leave_incarnation(actor, message)
        if message.state == "ALIVE" and message.incarnation <= actor.barred:
            return
        actor.state = message.state
        actor.incarnation = message.incarnation
        actor.error = message.error
        if message.state == "ALIVE" and actor.line is None:
            self._connect(actor, message)
        elif message.state == "DEAD":
            self.process.creating.forget(actor.id)
            queue, actor.queue = actor.queue, deque()
            for call in queue:
                self.fail(call, message.error)

    def _leave_incarnation(self, actor: CalledActor, message: m.ActorState) -> None:
        """Its process is gone: calls that were aboard are tried again or fail."""
        line, actor.line = actor.line, None
        if line is not None:
            line.read_rest()  # results from before its end are results
            line.close()
        aboard, actor.aboard = actor.aboard, {}
        again: list[Call] = []
        for call in aboard.values():
            if message.state != "DEAD" and self._charge(call):
                again.append(call)
            else:
                self.fail(
                    call, message.error or failures.actor_unavailable(actor.id, message.reason)
                )
        actor.queue.extendleft(reversed(again))

    def bar(self, actor_id: bytes) -> None:
        """This process has the actor killed: its calls do not reach what is left of it."""
        actor = self.known(actor_id)
        actor.barred = max(actor.incarnation, 0)
        if actor.line is not None:
            actor.line.close()
            actor.line = None

    def _connect(self, actor: CalledActor, message: m.ActorState) -> None:
        line = open_line(
            self.process, message.process, message.address, message.node, self._line_down
        )
        if line is None:
            return  # it has died again: word of it is on the way
        line.state_actor = actor
        line.state = actor
        actor.line, actor.far = line, not message.address
        actor.process = message.process
        self.send(actor)

    def _line_down(self, channel: Channel) -> None:
        """The actor's process has closed its end: the control store tells what became of it."""
        with self.process.lock:
            actor = channel.state_actor
            if actor is not None and actor.line is channel:
                actor.line = None
                if actor.ending is not None:
                    self._enter(actor, actor.ending)
                else:
                    self.down[actor] = self.process.now()

    def look_after(self, now: float) -> None:
        """Ask of actors that have hung up and are not said to be dead: the way may be broken."""
        for actor, since in list(self.down.items()):
            if actor.ending is not None:
                if now - since > DOWN_GRACE:
                    self._enter(actor, actor.ending)
            elif actor.line is not None or actor.state != "ALIVE":
                del self.down[actor]
            elif now - since > DOWN_GRACE:
                self.down[actor] = now
                self.process.to_hub(m.WatchActor(actor.id))

    # -- cancelling --------------------------------------------------------------------------

    def cancel(self, call: Call, recursive: bool) -> None:
        """Cancel a call: drop it where it waits, tell the actor if it has it."""
        actor = call.actor
        call.retries = 0
        if call in actor.queue:
            actor.queue.remove(call)
            self.fail(call, failures.cancelled(call.task.id))
        elif actor.line is not None:
            actor.line.send(m.Cancel(call.task.id, False, recursive))

    def cancel_children(self, parent: bytes) -> None:
        """Cancel the calls that a task of this process has made."""
        for actor in self.actors.values():
            for call in (*actor.queue, *actor.aboard.values()):
                if call.parent == parent:
                    self.cancel(call, True)
