"""The leases that an executor serves: whose tasks come, wait, are given back."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from ray_on_dask.runtime import job_environment, output
from ray_on_dask.wire import messages as m
from ray_on_dask.wire.channel import Channel

if TYPE_CHECKING:
    from ray_on_dask.runtime.executor import Executor


class ServedLeases:
    """Takes tasks in for an executor's main thread; the executor alone decides what has begun."""

    def __init__(self, executor: Executor):
        self.executor = executor
        self.leases: dict[int, m.BeginLease] = {}
        #: Leases are begun in the order of their numbers: a lower one that is not here has ended.
        self.last = 0
        #: Leases that end when the main thread has come out of the task that it is in.
        self.ending: set[int] = set()
        self._early: dict[int, list[tuple[Channel, m.Task]]] = {}

    def on_begin_lease(self, channel: Channel, message: m.BeginLease) -> None:
        """Tasks of a new owner may come."""
        self.last = max(self.last, message.lease)
        self.leases[message.lease] = message
        job_environment.begin_lease(message)
        for line, task in self._early.pop(message.lease, ()):
            self.executor.queue.append((line, message.lease, task))
        self.executor.nudge()

    def on_end_lease(self, channel: Channel, message: m.EndLease) -> None:
        """The lease ends now, or when the task that runs has ended."""
        if message.lease not in self.leases:
            return
        self.give_back(message.lease)
        self._end_when_free(message.lease)

    def _end_when_free(self, lease: int) -> None:
        """End a lease of which nothing waits here: now, or when the main thread is between tasks.

        It takes tasks without the lock: one may be on its way into it, or its result out of it.
        """
        executor = self.executor
        running = executor.running
        if executor.running_lease == lease if running is not None else executor.idle is None:
            self.ending.add(lease)
            executor.flush_results()  # those of this lease: a task of another may come next
        else:
            self.end(lease)

    def end_all(self) -> None:
        """End the leases that are to end (the main thread, between tasks and under the lock)."""
        for lease in list(self.ending):
            self.end(lease)

    def end(self, lease: int) -> None:
        """Nothing of the lease is left here: say so."""
        begun = self.leases.pop(lease, None)
        self.ending.discard(lease)
        if begun is None:
            return
        self.executor.flush_results()
        ended = m.LeaseEnded(lease)
        line = self.line_to(begun.owner)
        if line is not None:
            line.send(ended)
        self.executor.to_hub(ended)
        output.title("ray::IDLE")

    def line_to(self, owner: str) -> Channel | None:
        """The line on which an owner sends its tasks."""
        for channel in self.executor.reactor.channels():
            if channel.peer == owner and channel is not self.executor.hub and channel.state is None:
                return channel
        return None

    def give_back(self, lease: int, blocked: bool = False) -> None:
        """Hand the tasks of a lease that have not begun back to their owner."""
        taken = self.executor.take_queued(lambda item: item[1] == lease)
        back = [task.id for _, _, task in taken]
        line = taken[0][0] if taken else None
        if line is None and blocked:
            line = self.line_to(self.leases[lease].owner) if lease in self.leases else None
        if line is not None and (back or blocked):
            self.executor.flush_results()
            line.send(m.GivenBack(lease, back, blocked))

    # -- tasks in ----------------------------------------------------------------------

    def on_function(self, channel: Channel, message: m.Function) -> None:
        """A function that tasks will name."""
        self.executor.functions.receive(message)

    def on_push(self, channel: Channel, message: m.Push) -> None:
        """Tasks, in order."""
        lease = message.lease
        if not lease:
            assert self.executor.host is not None
            self.executor.host.on_calls(channel, message.tasks)
            return
        if lease not in self.leases:
            if lease > self.last:
                self._early.setdefault(lease, []).extend((channel, t) for t in message.tasks)
            else:
                channel.send(m.GivenBack(lease, [task.id for task in message.tasks]))
            return
        blocked = lease == self.executor.lending.lent
        if blocked or lease in self.ending or self.executor.retiring:
            channel.send(m.GivenBack(lease, [task.id for task in message.tasks], blocked))
            if self.executor.retiring and self.executor.running is None:
                self._end_when_free(lease)  # the owner has to look for another executor
            return
        append = self.executor.queue.append
        for task in message.tasks:
            append((channel, lease, task))
        self.executor.nudge()

    def on_recall(self, channel: Channel, message: m.Recall) -> None:
        """Give back the last ones that have not begun."""
        back: list[bytes] = []
        kept: list[tuple[Channel, int, m.Task]] = []
        with contextlib.suppress(IndexError):  # the main thread takes from it without the lock
            while len(back) < message.count:
                item = self.executor.queue.pop()
                if item[1] == message.lease:
                    back.append(item[2].id)
                else:
                    kept.append(item)
        self.executor.queue.extend(reversed(kept))
        back.reverse()
        channel.send(m.GivenBack(message.lease, back))
