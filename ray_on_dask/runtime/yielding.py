"""Generators in the executor that runs them: each value is sent as it is made."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from ray_on_dask.serialization import serialize, to_bytes
from ray_on_dask.wire import messages as m
from ray_on_dask.wire.channel import Channel
from ray_on_dask.wire.reactor import Waiter

if TYPE_CHECKING:
    from ray_on_dask.runtime.executor import Executor


class Yielding:
    """Drives generators, no faster than their readers allow."""

    def __init__(self, executor: Executor):
        self.executor = executor
        self._taken: dict[bytes, int] = {}
        self._waiting: dict[bytes, Waiter] = {}

    def drive(self, task: m.Task, generator: Any, owner: str) -> list[m.Value]:
        """Run a generator to its end; the values of the task's result."""
        if task.flags & m.DYNAMIC:
            return [self._collect(task, generator, owner)]
        count = 0
        line = self.executor.served.line_to(owner)
        self.begin(task)
        try:
            self._wait_for_room(task, 0)
            while True:
                try:
                    value = self._next(generator)
                except StopIteration:
                    break
                self.send(task, count, value, owner, line)
                count += 1
                self._wait_for_room(task, count)
        except BaseException:
            if inspect.isgenerator(generator):
                generator.close()
            raise
        finally:
            self.end(task)
        return [m.Value(m.INLINE, to_bytes(serialize(count)))]

    def _next(self, generator: Any) -> Any:
        execution = self.executor.execution
        execution.in_user_code = True
        try:
            return next(generator)
        finally:
            execution.in_user_code = False

    def send(self, task: m.Task, at: int, value: Any, owner: str, line: Channel | None) -> None:
        """Send one value to the owner."""
        packed = self.executor.execution.pack(value, task, at, owner)
        with self.executor.lock:
            self.executor.send_out()
            if line is not None:
                line.send(m.Yielded(task.id, at, packed))

    def _collect(self, task: m.Task, generator: Any, owner: str) -> m.Value:
        from ray_on_dask.runtime.streams import DynamicObjectRefGenerator

        refs = [self.executor.storing.put(value) for value in generator]
        return self.executor.execution.pack(DynamicObjectRefGenerator(refs), task, 0, owner)

    # -- back-pressure ---------------------------------------------------------------------

    def begin(self, task: m.Task) -> None:
        """A generator begins: from now on its reader says what it has taken."""
        if task.backpressure:
            self._taken[task.id] = 0

    def end(self, task: m.Task) -> None:
        """It has ended; what its reader takes from now on does not matter."""
        if task.backpressure:
            with self.executor.lock:
                self._taken.pop(task.id, None)

    def _wait_for_room(self, task: m.Task, made: int) -> None:
        """Block while the reader is `backpressure` values behind."""
        while self.behind(task, made):
            waiter = Waiter()
            self._waiting[task.id] = waiter
            if not self.behind(task, made):
                break
            self.executor.block(waiter, [], None)
        self._waiting.pop(task.id, None)

    def behind(self, task: m.Task, made: int) -> bool:
        """Whether the reader is `backpressure` values behind."""
        return bool(task.backpressure) and (made - self._taken.get(task.id, 0) >= task.backpressure)

    def on_consumed(self, channel: Channel, message: m.Consumed) -> None:
        """The reader has taken values."""
        if message.task in self._taken:
            self._taken[message.task] = max(message.count, self._taken[message.task])
        waiter = self._waiting.get(message.task)
        if waiter is not None:
            waiter.finish()
