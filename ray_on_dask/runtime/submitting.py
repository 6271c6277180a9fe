"""Tasks that this process owns: from `.remote()` to the value of its refs.

Decisions are `core.tasks`; this is the shell that sends what they say.
"""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING, Any

from ray_on_dask.core import tasks as t
from ray_on_dask.ids import INDEX, index_bytes
from ray_on_dask.runtime import arguments, current, error_report, failures, locality
from ray_on_dask.runtime.function_table import PreparedCall
from ray_on_dask.runtime.lines import open_line
from ray_on_dask.runtime.object_ref import Entry, ref_to
from ray_on_dask.wire import messages as m
from ray_on_dask.wire.channel import Channel

if TYPE_CHECKING:
    from ray_on_dask.runtime.process import Process

logger = logging.getLogger("ray_on_dask")

#: Submissions between two looks at what has come in meanwhile.
LOOK_EVERY = 64
#: Seconds to wait for word of how an executor died after its line went down.
LOST_GRACE = 5.0
#: Functions of a scheduling class that are named where its demand is shown.
NAMES_MAX = 5


class SubmittedTask(t.OwnedTask):
    """A task with what its owner needs to end it."""

    __slots__ = ("call", "packed", "parent", "stream")

    def __init__(self, task: m.Task, call: PreparedCall, packed: arguments.Arguments, returns: Any):
        super().__init__(task, call.key, call.retries, returns)
        self.call = call
        self.packed = packed
        self.stream: Any = None
        #: The task that submitted it, b"" for a driver.
        self.parent = b""

    def __call__(self, entry: Entry) -> None:
        """A dependency is there: tasks wait for theirs themselves, with no closure each."""
        current.require().submitting.arrived(self, entry)


class Submitting:
    """Owns tasks, and the lines to the executors that run them."""

    def __init__(self, process: Process):
        self.process = process
        self.tasks = t.Tasks()
        self.lines: dict[str, Channel] = {}
        self.classes: dict[bytes, int] = {}
        self.specs_sent: set[int] = set()
        #: {class: names of tasks in it}, and how many the control store has been told.
        self._names: dict[int, dict[str, None]] = {}
        self._names_sent: dict[int, int] = {}
        self._down: dict[str, float] = {}
        self._since_look = 0

    def class_of(self, spec: m.SchedulingClass, name: str) -> int:
        """The number of a scheduling class, made when it is new; `name` is of one of its tasks."""
        identity = m.encode(spec)
        if identity not in self.classes:
            with self.process.lock:
                if identity not in self.classes:  # else another thread was faster
                    key = len(self.classes) + 1
                    self.tasks.add_class(key, spec, self.process.slots_for(spec.resources))
                    self.classes[identity] = key
        key = self.classes[identity]
        names = self._names.setdefault(key, {})
        if len(names) < NAMES_MAX:
            names[name] = None
        return key

    # -- submitting ----------------------------------------------------------------------

    def submit(self, call: PreparedCall, args: Any, kwargs: Any) -> Any:
        """Make a task; its ref, a list of refs, a generator of refs, or None for no returns."""
        process = self.process
        packed = arguments.EMPTY
        if args or kwargs:
            packed = arguments.pack(process, args, kwargs, "argument")
        id = process.task_ids.next()
        task = m.Task(
            id, call.function, packed.value, arguments.NO_DEPENDENCIES, call.returns, call.flags,
            0, call.name, "", call.backpressure, "", process.placement_group_for(call),
        )  # fmt: skip
        if call.returns == 1:
            entry = Entry(id + INDEX[0])
            owned = SubmittedTask(task, call, packed, (entry,))
            entry.data = owned
            out: Any = ref_to(entry)
        else:
            owned, out = self._several(task, call, packed)
        owned.parent = process.current_task
        with process.lock:
            self._start(owned)
            if process._hub_out:
                process.send_out()
        self._since_look += 1
        if self._since_look >= LOOK_EVERY:
            self._since_look = 0
            process.reactor.poll_now()
        return out

    def _several(
        self, task: m.Task, call: PreparedCall, packed: arguments.Arguments
    ) -> tuple[SubmittedTask, Any]:
        if call.flags & m.STREAM:
            owned = SubmittedTask(task, call, packed, [])
            return owned, self.process.streams.open(owned)
        entries = [Entry(task.id + index_bytes(i)) for i in range(call.returns)]
        owned = SubmittedTask(task, call, packed, entries)
        for entry in entries:
            entry.data = owned
        return owned, [ref_to(entry) for entry in entries] or None

    def _start(self, owned: SubmittedTask) -> None:
        packed = owned.packed
        now = monotonic()
        if packed.dependencies or packed.inner:
            pending = arguments.pending_of(packed)
            owned.missing = len(pending)
            if pending:
                self.tasks.submit(owned, now)
                for entry in pending:
                    self.process.references.when_ready(entry, owned)
                return
            if self._blame_arguments(owned):
                return
            arguments.attach(self.process, owned.task, packed)
            self._go_near(owned)
        out = self.tasks.submit(owned, now)
        if out:
            self.carry_out(out)

    def resubmit(self, owned: SubmittedTask) -> None:
        """Run a task that has ended once more: what it made is lost."""
        owned.state, owned.urgent = t.WAITING, False
        self._start(owned)

    def _go_near(self, owned: SubmittedTask) -> None:
        """Let the task run where most of what it reads is, if that is much."""
        near = locality.near(owned.packed, self.process.node)
        owned.key = owned.call.key
        if near:
            spec = self.tasks.classes[owned.key].spec
            owned.key = self.class_of(locality.class_near(spec, near), owned.call.name)

    def arrived(self, owned: SubmittedTask, entry: Entry) -> None:
        """A dependency of a task is there."""
        failed = entry.kind in (m.ERROR, m.FREED)
        if owned.state != t.WAITING or (failed and self._blame_arguments(owned)):
            return
        if owned.missing == 1:
            arguments.attach(self.process, owned.task, owned.packed)
            self._go_near(owned)
        self.carry_out(self.tasks.dependency_ready(owned, monotonic()))

    def _blame_arguments(self, owned: SubmittedTask) -> bool:
        """Fail the task if one of its arguments has failed."""
        for _, ref in owned.packed.dependencies:
            if ref._entry.kind in (m.ERROR, m.FREED):
                self.tasks.remove(owned)
                error, _kept = failures.of_argument(owned.call.name, ref._entry)
                self.fail(owned, error)
                return True
        return False

    # -- instructions out -----------------------------------------------------------------

    def carry_out(self, instructions: list[t.Instruction]) -> None:
        """Do what the state machine says (under the lock)."""
        for what in instructions:
            if isinstance(what, t.PushTasks):
                self._push(what)
            elif isinstance(what, t.SendDemand):
                self._demand(what)
            elif isinstance(what, t.RecallTasks):
                line = self.lines.get(what.executor)
                if line is not None:
                    line.send(m.Recall(what.lease, what.count))
            elif isinstance(what, t.GiveBackLease):
                self.process.to_hub(m.ReturnLease(what.lease))
            else:
                name = what.task.task.name
                self.fail(what.task, failures.crashed(name, what.reason))
                self.process.to_hub(error_report.crash_of(self.process, name, what.reason))

    def _push(self, push: t.PushTasks) -> None:
        line = self.lines.get(push.lease.executor)
        if line is None:
            return  # it died: word of it brings the tasks back
        known = line.state
        messages: list[object] = []
        batch = [owned.task for owned in push.tasks]
        for task in batch:
            if task.function not in known:
                known.add(task.function)
                messages.append(self.process.functions.message(task.function))
        if self.process._hub_out:
            self.process.send_out()
        messages.append(m.Push(push.lease.id, batch))
        line.send_all(messages)

    def _demand(self, demand: t.SendDemand) -> None:
        spec = None
        if demand.key not in self.specs_sent:
            self.specs_sent.add(demand.key)
            spec = self.tasks.classes[demand.key].spec
        near = {spec.near: locality.LARGE} if spec is not None and spec.near else {}
        names: list[str] = []
        if len(self._names[demand.key]) > self._names_sent.get(demand.key, 0):
            names = list(self._names[demand.key])
            self._names_sent[demand.key] = len(names)
        self.process.to_hub(m.Demand(demand.key, demand.wanted, spec, demand.urgent, near, names))

    def flush(self) -> None:
        """Push all that can be pushed."""
        self.process.calling.flush()
        out = self.tasks.flush(monotonic())
        if out:
            self.carry_out(out)

    def tick(self, now: float) -> None:
        """Recall what is stuck, return what is idle, give up on the silently dead."""
        self.process.calling.flush()
        if self.process.calling.down:
            self.process.calling.look_after(now)
        self.carry_out(self.tasks.tick(now))
        for executor, since in list(self._down.items()):
            if now - since > LOST_GRACE:
                del self._down[executor]
                for lease in [x for x in self.tasks.leases.values() if x.executor == executor]:
                    running = next(iter(lease.aboard), b"")
                    self.process.to_hub(m.ReturnLease(lease.id))
                    group = self.tasks.classes[lease.key]  # its demand falls by that, there too
                    group.wanted = max(0, min(group.wanted, len(group.leases) - 1))
                    self.carry_out(self.tasks.lost(lease.id, running, "its line went down", now))

    # -- messages in ---------------------------------------------------------------------------

    def on_granted(self, channel: Channel, message: m.Granted) -> None:
        """A lease: connect to its executor."""
        if message.executor not in self.lines and not self.connect(
            message.executor, message.address, message.node
        ):
            self.process.to_hub(m.ReturnLease(message.lease))
            return
        self.carry_out(
            self.tasks.granted(message.lease, message.class_id, message.executor, monotonic())
        )

    def connect(self, executor: str, address: str, node: str) -> bool:
        """Open a line to an executor; False if it is gone."""
        line = open_line(self.process, executor, address, node, self.on_line_down)
        if line is None:
            return False
        line.state = set()
        self.lines[executor] = line
        return True

    def on_line_down(self, channel: Channel) -> None:
        """An executor has closed its end; how it died is told by the control store."""
        with self.process.lock:
            self.lines.pop(channel.peer, None)
            if any(lease.executor == channel.peer for lease in self.tasks.leases.values()):
                self._down[channel.peer] = monotonic()

    def on_results(self, channel: Channel, message: m.Results) -> None:
        """Tasks have ended."""
        if not message.lease:
            self.process.calling.on_results(channel, message)
            return
        now = monotonic()
        complete, finished = self.process.references.complete, self.tasks.finished
        for result in message.results:
            owned: Any = finished(message.lease, result.task, result.seconds, now)
            if owned is None:
                self.process.references.refuse(result)
                continue
            if result.status == m.DONE:
                for entry, value in zip(owned.returns, result.values, strict=False):
                    complete(entry, value)
                if owned.stream is not None:
                    self.process.streams.ended(owned, result)
                if owned.task.attempt:
                    self.process.recovery.over(owned)
            else:
                self._not_done(owned, result, now)
        if self.process.references.taken:
            self.process.asking.acknowledge(channel)
        out = self.tasks.refill(message.lease, now)
        if out:
            self.carry_out(out)

    def _not_done(self, owned: Any, result: m.Result, now: float) -> None:
        error = failures.of_result(self.process.references, result)
        if result.status == m.FAILED and owned.retries and owned.call.retries_on(result):
            self.carry_out(self.tasks.again(owned, now))
            return
        self.fail(owned, error)

    def fail(self, owned: Any, error: bytes | m.Value) -> None:
        """All values of the task are this error."""
        value = m.Value(m.ERROR, error) if isinstance(error, bytes) else error
        for entry in owned.returns:
            self.process.references.complete(entry, value)
        if owned.stream is not None:
            self.process.streams.failed(owned, value)
        if owned.task.attempt:
            self.process.recovery.over(owned, value)

    def on_given_back(self, channel: Channel, message: m.GivenBack) -> None:
        """An executor has not started these."""
        if message.blocked:
            self.tasks.executor_blocked(message.lease)
        self.carry_out(self.tasks.given_back(message.lease, message.tasks, monotonic()))

    def on_lease_ended(self, channel: Channel, message: m.LeaseEnded) -> None:
        """A lease was called back."""
        self.carry_out(self.tasks.ended(message.lease, monotonic()))

    def on_lease_lost(self, channel: Channel, message: m.LeaseLost) -> None:
        """The executor of a lease died."""
        lease = self.tasks.leases.get(message.lease)
        if lease is not None:
            self._down.pop(lease.executor, None)
        self.carry_out(self.tasks.lost(message.lease, message.running, message.reason, monotonic()))

    def on_lease_failed(self, channel: Channel, message: m.LeaseFailed) -> None:
        """No lease of this class can be had: its tasks fail."""
        group = self.tasks.classes.get(message.class_id)
        for owned in list(group.queue) if group is not None else ():
            self.tasks.remove(owned)
            self.fail(owned, message.error)
        if group is not None:
            group.wanted = 0
            self.process.to_hub(m.Demand(message.class_id, 0))

    def on_infeasible(self, channel: Channel, message: m.Infeasible) -> None:
        """Tell people that something cannot run as the cluster is."""
        logger.warning("%s", message.text)

    def on_waiting_for(self, channel: Channel, message: m.WaitingFor) -> None:
        """Another process is blocked on refs of ours: make those first."""
        for id in message.ids:
            entry = self.process.references.known.get(id)
            if entry is not None and entry.kind == m.PENDING:
                self.hurry(entry)

    def hurry(self, entry: Entry) -> None:
        """Move the task that makes this, and those it depends on, to the front."""
        todo = [entry.data]
        while todo:
            owned = todo.pop()
            if isinstance(owned, SubmittedTask) and owned.state != t.ENDED and not owned.urgent:
                self.carry_out(self.tasks.hurry(owned))
                todo += [
                    ref._entry.data for _, ref in owned.packed.dependencies
                    if ref._entry.kind == m.PENDING and ref._entry.owned
                ]  # fmt: skip

    # -- cancelling ----------------------------------------------------------------------------

    def cancel(self, entry: Entry, force: bool, recursive: bool) -> None:
        """Cancel the task that makes an object, if it is not over (takes the lock)."""
        with self.process.lock:
            owned = entry.data if entry.kind == m.PENDING else None
            if isinstance(owned, SubmittedTask):
                self.cancel_task(owned, force, recursive)
            elif owned is not None:
                self.process.calling.cancel(owned, recursive)
            self.process.send_out()

    def cancel_children(self, parent: bytes, force: bool) -> None:
        """Cancel the tasks and calls that a task of this process has launched (under the lock)."""
        for owned in list(self.tasks.tasks.values()):
            if isinstance(owned, SubmittedTask) and owned.parent == parent:
                self.cancel_task(owned, force, True)
        self.process.calling.cancel_children(parent)

    def cancel_task(self, owned: SubmittedTask, force: bool, recursive: bool) -> None:
        """Cancel one task: drop it where it waits, interrupt it where it runs."""
        owned.retries = 0
        if owned.state in (t.WAITING, t.QUEUED):
            self.tasks.remove(owned)
            self.fail(owned, failures.cancelled(owned.task.id))
        elif owned.lease is not None:
            line = self.lines.get(owned.lease.executor)
            if line is not None:
                line.send(m.Cancel(owned.task.id, force, recursive))
