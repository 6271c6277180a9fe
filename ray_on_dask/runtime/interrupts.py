"""Cancelling a task that runs: an interrupt that hits that task's own code and nothing else.

The thread that reads the message signals the main thread. The handler, which Python runs in the
main thread, raises only if the task is the one that is meant and the innermost code is the
user's; else the tick tries again. A task that is blocked in `get` is woken and raises there.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import contextlib
import os
import threading
from time import monotonic
from types import FrameType
from typing import TYPE_CHECKING

from ray_on_dask.runtime import failures
from ray_on_dask.wire import messages as m
from ray_on_dask.wire.channel import Channel

if TYPE_CHECKING:
    from ray_on_dask.runtime.executor import Executor

SIGNAL: int = _signal.SIGUSR2
#: Seconds after which a cancelled task that has not begun must have been over before.
ON_ITS_WAY = 1.0
_PACKAGE = __name__.partition(".")[0] + "."
#: Modules that call the user's code.
_CALLERS = (_PACKAGE + "runtime.execution", _PACKAGE + "runtime.yielding")


def ignore_ctrl_c() -> None:
    """Leave `SIGINT` to the driver (in the main thread)."""
    _signal.signal(_signal.SIGINT, _signal.SIG_IGN)


class Interrupts:
    """Cancels tasks of one executor."""

    def __init__(self, executor: Executor):
        self.executor = executor
        #: The running task that is to be interrupted, b"" if none.
        self.target = b""
        #: Until when the target may be on its way into the main thread.
        self._until = 0.0
        #: Tasks of this executor that were cancelled, for `is_canceled`.
        self.cancelled: set[bytes] = set()

    def install(self) -> None:
        """Take the signal (in the main thread)."""
        _signal.signal(SIGNAL, self._handle)  # `signal` makes enums, on pages that were shared

    def on_cancel(self, channel: Channel, message: m.Cancel) -> None:
        """The owner wants a task ended."""
        executor = self.executor
        if executor.host is not None:
            executor.host.cancel(channel, message)
            return
        for _, lease, task in executor.take_queued(lambda item: item[2].id == message.task):
            channel.send(m.Results(lease, [gone(task.id)]))
            return
        running = executor.running
        if running is None or running.id != message.task:
            # It is over, or on its way into the main thread, which may have to wait for the lock.
            self.target, self._until = message.task, monotonic() + ON_ITS_WAY
            return
        if message.recursive:
            executor.submitting.cancel_children(message.task, message.force)
            executor.send_out()
        self.cancelled.add(message.task)
        if message.force:
            executor.flush_results()
            if executor.running is not running:
                return  # it is over by now: the next one is not to die for it
            channel.send(m.Results(executor.running_lease, [gone(message.task)]))
            executor.page.running = b""
            channel.flush(1.0)
            os._exit(1)
        self.interrupt(message.task)

    def interrupt(self, task: bytes) -> None:
        """Interrupt a task that ran just now: this one alone, the next may have begun meanwhile."""
        self.target = task
        self._signal()

    def _signal(self) -> None:
        if self.target == self.executor.current_task:
            self.executor.lending.interrupt()
        with contextlib.suppress(ProcessLookupError):
            _signal.pthread_kill(self.executor.main, SIGNAL)

    def again(self) -> None:
        """Try once more, if the last signal came at a moment that was not the task's."""
        if self.target and self.target != self.executor.current_task:
            if monotonic() > self._until:
                self.target = b""  # it was over before it was cancelled
        elif self.target and threading.get_ident() != self.executor.main:
            self._signal()

    def check(self) -> None:
        """Raise here if the running task was cancelled: it comes out of a wait."""
        if self.target and self.target == self.executor.current_task:
            self.target = b""
            raise KeyboardInterrupt

    def task_over(self) -> None:
        """The task has ended, interrupted or not."""
        self.target = b""
        self.cancelled.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self.target or self.target != self.executor.current_task:
            return
        if not self.executor.execution.in_user_code or self._in_ours(frame):
            return
        self.target = b""
        raise KeyboardInterrupt

    @staticmethod
    def _in_ours(frame: FrameType | None) -> bool:
        """Whether code of this package's is at work above the user's."""
        depth = 0
        while frame is not None and depth < 200:
            module = frame.f_globals.get("__name__", "")
            if module in _CALLERS:
                return depth == 0
            if module.startswith(_PACKAGE):
                return True
            frame, depth = frame.f_back, depth + 1
        return False


def gone(task: bytes) -> m.Result:
    """The result of a task that was cancelled before it began, or with its process."""
    return m.Result(task, m.CANCELLED, [m.Value(m.ERROR, failures.cancelled(task))])
