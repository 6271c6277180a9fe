"""An executor: the process that runs user code, tasks of one job, or one actor of it.

The main thread runs the code and writes its results itself. While it does, the reactor's own
thread serves the lines; when it has nothing to do, or is blocked in `get`, it serves them.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any

from ray_on_dask.ids import TaskIds
from ray_on_dask.runtime import current, interrupts, job_environment, output, shared_serializers
from ray_on_dask.runtime.actor_host import ActorHost
from ray_on_dask.runtime.execution import Execution
from ray_on_dask.runtime.handing import Handing
from ray_on_dask.runtime.lending import Lending
from ray_on_dask.runtime.object_ref import Entry
from ray_on_dask.runtime.process import Process
from ray_on_dask.runtime.served_leases import ServedLeases
from ray_on_dask.runtime.status_page import StatusPage
from ray_on_dask.runtime.task_events import EVERY, Events
from ray_on_dask.runtime.yielding import Yielding
from ray_on_dask.wire import messages as m
from ray_on_dask.wire.channel import Channel, listen
from ray_on_dask.wire.frames import FIRST_MAX, FrameReader
from ray_on_dask.wire.reactor import Waiter

#: Results are sent at the latest when the first of them is so many seconds old.
RESULTS_AGE = 0.001
RESULTS_MAX = 100
#: Tasks that take longer than this are not started while results wait to be sent.
SHORT = 0.0005

#: A task that has not begun: the line that it came on, its lease (0 for an actor's call), itself.
Queued = tuple[Channel, int, m.Task]


class Executor(Process):
    """The executor's side of leases and tasks.

    Parameters
    ----------
    params : dict
        As the node gives them to the zygote: name, hub, address, node, shm, capacity, ip.
    """

    kind = "executor"

    def __init__(self, params: dict[str, Any]):
        self.queue: deque[Queued] = deque()
        self.served = ServedLeases(self)
        self.lending = Lending(self)
        #: What the main thread waits on for work: while it is there, that thread is in no task.
        self.idle: Waiter | None = None
        self._results: list[m.Result] = []
        self._results_line: Channel | None = None
        self._results_since = 0.0
        self._calls: dict[bytes, int] = {}
        self._seconds: dict[bytes, float] = {}
        self.running: m.Task | None = None
        self.running_lease = 0
        self.retiring = ""
        self._inherited = b""
        #: {placement group: what stands for it as `surroundings`}.
        self._groups: dict[bytes, object] = {}
        self.main = threading.get_ident()
        self.ip = params["ip"]
        self.events = Events(self)
        self.execution = Execution(self)
        self.handing = Handing(self)
        self.yielding = Yielding(self)
        self.interrupts = interrupts.Interrupts(self)
        self.host: ActorHost | None = None
        self.page = StatusPage.create(os.path.join(params["shm"], f"p-{params['name']}"))
        super().__init__(params["name"], params["hub"])
        self.node = params["node"]
        self.address = params["address"]
        self.storing.configure(params["shm"], params["capacity"])
        self.handlers |= {
            m.Hello: self.on_hello,
            m.Adopt: self.on_adopt,
            m.BeginLease: self.served.on_begin_lease,
            m.EndLease: self.served.on_end_lease,
            m.Function: self.served.on_function,
            m.Serializer: shared_serializers.receive,
            m.Push: self.served.on_push,
            m.Recall: self.served.on_recall,
            m.Cancel: self.interrupts.on_cancel,
            m.Consumed: self.yielding.on_consumed,
            m.Taken: self.handing.on_taken,
            m.Exit: self.on_exit,
            m.BecomeActor: self.on_become_actor,
        }
        self.reactor.listen(listen(self.address), self.on_accept)

    # -- lines ------------------------------------------------------------------------

    def on_accept(self, sock: socket.socket) -> None:
        """An owner calls."""
        line = Channel(sock, self.reactor, self.on_messages, self.on_owner_gone)
        line.reader = FrameReader(FIRST_MAX)

    def on_hello(self, channel: Channel, message: m.Hello) -> None:
        """It says who it is."""
        channel.peer = message.process

    def on_owner_gone(self, channel: Channel) -> None:
        """An owner is gone: what it has queued here goes with it."""
        with self.lock:
            self.take_queued(lambda item: item[0] is channel)
            running, lease = self.running, self.served.leases.get(self.running_lease)
            if running is not None and lease is not None and lease.owner == channel.peer:
                self.interrupts.interrupt(running.id)
            self.handing.owner_down(channel.peer)
            if self.host is not None:
                self.host.caller_gone(channel)

    def on_hub_closed(self, channel: Channel) -> None:
        """Without its node an executor has no reason to live."""
        os._exit(0)

    def on_adopt(self, channel: Channel, message: m.Adopt) -> None:
        """The node gives this executor to a job."""
        self.job = message.job
        self.config = message.config
        job_environment.adopt(self, message)

    def on_exit(self, channel: Channel, message: m.Exit) -> None:
        """The node wants this executor gone."""
        if message.force:
            self.end(0)
        self.retiring = message.reason or "asked to exit"
        if self.host is not None:
            self.host.end_after_calls(message.reason)
        self.nudge()

    @property
    def waiting(self) -> int:
        """How many tasks and calls are aboard and have not begun."""
        return len(self.queue) + (self.host.waiting if self.host is not None else 0)

    def take_queued(self, wanted: Callable[[Queued], bool]) -> list[Queued]:
        """Take tasks out that have not begun (under the lock).

        The main thread takes the next one without the lock, so each is taken by a single atomic
        `popleft`: whoever has it decides, and no task is both started and given back.
        """
        items: list[Queued] = []
        with contextlib.suppress(IndexError):
            while True:
                items.append(self.queue.popleft())
        self.queue.extend(item for item in items if not wanted(item))
        self.nudge()
        return [item for item in items if wanted(item)]

    def nudge(self) -> None:
        """Have the main thread look around, if it waits for work."""
        if (waiter := self.idle) is not None:
            waiter.finish()

    # -- the main thread ----------------------------------------------------------------------

    def serve(self) -> None:
        """Run what comes, until the end."""
        popleft = self.queue.popleft
        while True:
            try:
                queued = popleft()
            except IndexError:
                self._rest()
            else:
                self._run(*queued)

    def _rest(self) -> None:
        """Nothing to do: send what is unsent, and wait for work."""
        if self.host is not None and self.host.wants_main:
            self.host.take_main()
            return
        with self.lock:
            self.flush_results()
            self.served.end_all()
            ends = self.retiring and self.may_end()
            if self.queue or (self.host is not None and self.host.wants_main):
                return
            self.idle = waiter = Waiter()
            self.send_out()
        if ends:
            self.end(0) if self.host is None else self.host.end()
        self.reactor.wait(waiter, 0.2 if self.retiring else None)
        self.idle = None

    def _run(self, channel: Channel, lease: int, task: m.Task) -> None:
        if self._results and (
            self._results_line is not channel or self._seconds.get(task.function, 1.0) > SHORT
        ):
            with self.lock:
                self.flush_results()
        if self.host is not None and not lease:
            self._run_call(channel, task)
            return
        self.begin(task, lease)
        if task.dependencies or task.args.data:
            self.references.on_trial = []
        result = self.execution.run(task, channel.peer)
        if self.references.on_trial is not None:
            self.settle_trial()
        self.finish(task)
        self._seconds[task.function] = result.seconds
        self._reply(channel, lease, task, result)

    def _run_call(self, channel: Channel, task: m.Task) -> None:
        """Run a call of the actor that this is."""
        assert self.host is not None
        self.begin(task, 0)
        if task.dependencies or task.args.data:
            self.references.on_trial = []
        result = self.host.run(channel, task, self.execution.call)
        if self.references.on_trial is not None:
            self.settle_trial()
        if task.id in self.interrupts.cancelled:
            result = self.handing.gone(task.id, result)
        self.finish(task)
        self._reply(channel, 0, task, result)

    def begin(self, task: m.Task, lease: int) -> None:
        """The main thread goes into a task."""
        self.page.running = task.id
        self.running, self.running_lease = task, lease
        self.current_task = task.id
        if task.placement_group:
            self.inherit(task.placement_group)
        output.begin(task.name)
        if self.config.id_seed is not None:
            self.task_ids = TaskIds.seeded(self.config.id_seed, task.id, task.attempt)

    def finish(self, task: m.Task) -> None:
        """The main thread has come out of it."""
        self.running = None
        self.current_task = b""
        if task.placement_group:
            self.inherit(b"")
        self.interrupts.task_over()
        output.end()
        self.page.running = b""

    def inherit(self, group: bytes) -> None:
        """What is launched from now on goes into this placement group, b"" for none."""
        self._inherited = group
        self.surroundings = self._groups.setdefault(group, object()) if group else self.session

    def inherited_group(self) -> bytes:
        """The placement group of what is launched here."""
        return self._inherited

    def settle_trial(self) -> None:
        """Register the refs that the task has kept of its arguments, before it replies."""
        if not self.references.on_trial:
            self.references.on_trial = None
            return
        with self.lock:
            kept = self.references.end_of_trial()
        if kept:
            self.asking.sync()

    def _reply(self, channel: Channel, lease: int, task: m.Task, result: m.Result) -> None:
        now = monotonic()
        if not self._results:
            self._results_since = now
            self._results_line, self._results_lease = channel, lease
        self._results.append(result)
        begun = self.served.leases.get(lease)
        limit = begun.spec.max_calls if begun is not None else 0
        if (
            task.flags & m.FLUSH
            or self.served.ending
            or limit
            or len(self._results) >= RESULTS_MAX
            or now - self._results_since > RESULTS_AGE
        ):
            with self.lock:
                self.flush_results()
                self.served.end_all()
                if limit:
                    self._count_call(task, lease, limit)
                self.events.send(now)

    def _count_call(self, task: m.Task, lease: int, limit: int) -> None:
        calls = self._calls[task.function] = self._calls.get(task.function, 0) + 1
        if calls >= limit:
            self.retiring = "max_calls reached"
            self.served.give_back(lease)
            self.to_hub(m.Retired(self.retiring))  # first: its node must not give it another lease
            self.served.end(lease)
            self.send_out()

    def flush_results(self) -> None:
        """Send the results that wait (under the lock)."""
        results, self._results = self._results, []
        if self._hub_out:
            self.send_out()
        if results and self._results_line is not None:
            self._results_line.send(m.Results(self._results_lease, results))

    def block(self, waiter: Waiter, entries: list[Entry], timeout: float | None) -> None:
        """Block; a task's main thread lends its CPU when that takes more than a moment."""
        self.lending.block(waiter, entries, timeout)

    # -- time, end ------------------------------------------------------------------------------

    def interval(self) -> float:
        """Seconds until the next tick is due."""
        if self._results or self.interrupts.target:
            return 0.005
        seconds = super().interval()
        if self.events.due:
            return min(EVERY, seconds) if seconds >= 0 else EVERY
        return seconds

    def tick(self, now: float) -> None:
        """Look after what nobody calls for."""
        with self.lock:
            self.events.send(now)
            if self._results and now - self._results_since > RESULTS_AGE:
                self.flush_results()
            self.handing.tick(now)
        super().tick(now)
        self.interrupts.again()

    def on_become_actor(self, channel: Channel, message: m.BecomeActor) -> None:
        """This executor is an actor from now on, for life."""
        self.host = ActorHost(self, message)
        if message.spec.captures:
            self.inherit(message.spec.placement_group)
        self.nudge()

    def may_end(self) -> bool:
        """Whether nobody depends on this process: no unsettled task, no ref on its way."""
        return not (self.submitting.tasks.tasks or self.calling.busy or self.handing)

    def leave(self, end: SystemExit) -> None:
        """A task has called `sys.exit`."""
        self.handing.finish()
        self.end(end.code if isinstance(end.code, int) else int(bool(end.code)), keep_page=True)

    def end(self, status: int, keep_page: bool = False) -> None:
        """End this process, orderly: what is unsent is sent."""
        with self.lock:
            if not keep_page:
                self.page.running = b""
            self.flush_results()
            self.events.send(0.0, force=True)
            self.send_out()
        sys.stdout.flush()
        sys.stderr.flush()
        for channel in self.reactor.channels():
            channel.flush(1.0)
        os._exit(status)

    def name_of(self, task: m.Task) -> str:
        """What people call the task."""
        return task.name

    def title_of(self, task: m.Task) -> str:
        """The process title while it runs."""
        return f"ray::{task.name}"

    def actor_repr(self) -> str | None:
        """The actor's repr for error texts; None for tasks."""
        return self.host.repr if self.host is not None else None

    def actor_id(self) -> str | None:
        """The actor's id for error texts; None for tasks."""
        return self.host.id.hex() if self.host is not None else None

    def report_error(self, task: m.Task, error: Exception) -> None:
        """A failure, for the error log and for the driver's terminal."""
        from ray_on_dask.runtime.error_report import record_of

        self.to_hub(record_of(self, task, error))


def main(params: dict[str, Any]) -> int:
    """What a forked executor runs; the zygote calls it."""
    interrupts.ignore_ctrl_c()
    output.install()
    executor = Executor(params)
    current.set_process(executor)
    executor.interrupts.install()
    executor.hub.send(m.Hello(executor.name, "executor", os.getpid(), None, executor.address))
    executor.reactor.start()
    executor.serve()
    return 0
