"""A task that blocks lends its CPU: others run on it, those it waits for first."""

from __future__ import annotations

import threading
from time import monotonic
from typing import TYPE_CHECKING

from ray_on_dask.runtime.object_ref import Entry
from ray_on_dask.wire import messages as m
from ray_on_dask.wire.reactor import Waiter

if TYPE_CHECKING:
    from ray_on_dask.runtime.executor import Executor

#: Seconds in `get` before a task is said to be blocked.
MOMENT = 0.002


class Lending:
    """Blocks the threads of an executor."""

    def __init__(self, executor: Executor):
        self.executor = executor
        #: The lease of which the CPU is lent, 0 if none is.
        self.lent = 0
        self._blocked_on: Waiter | None = None

    def block(self, waiter: Waiter, entries: list[Entry], timeout: float | None) -> None:
        """Block; a task's main thread lends its CPU when that takes more than a moment."""
        if threading.get_ident() != self.executor.main or self.executor.running is None:
            if self.executor.host is not None:
                self.executor.host.will_block()
            self.executor.reactor.wait(waiter, timeout)
            return
        deadline = None if timeout is None else monotonic() + timeout
        self._blocked_on = waiter
        was, self.executor.execution.in_user_code = self.executor.execution.in_user_code, False
        try:
            if not self._needs_cpu(entries):
                moment = MOMENT if timeout is None else min(MOMENT, timeout)
                if self.executor.reactor.wait(waiter, moment):
                    return
            self._lend(entries)
            left = None if deadline is None else max(0.0, deadline - monotonic())
            self.executor.reactor.wait(waiter, left)
        finally:
            self._blocked_on = None
            self._take_back()
            self.executor.execution.in_user_code = was
            self.executor.interrupts.check()

    @staticmethod
    def _needs_cpu(entries: list[Entry]) -> bool:
        """Whether what is waited for is a task of this process's that has no executor yet."""
        return any(getattr(entry.data, "lease", True) is None for entry in entries)

    def _lend(self, entries: list[Entry]) -> None:
        with self.executor.lock:
            lease = self.executor.running_lease
            if lease and not self.lent:
                self.lent = lease
                self.executor.served.give_back(lease, blocked=True)
                self.executor.to_hub(m.Blocked(lease))
            for entry in entries:
                if entry.owned:
                    self.executor.submitting.hurry(entry)
            self.executor.getting.tell_what_blocks(entries)
            self.executor.send_out()

    def _take_back(self) -> None:
        if self.lent:
            with self.executor.lock:
                self.executor.to_hub(m.Unblocked(self.lent))
                self.lent = 0
                self.executor.send_out()

    def interrupt(self) -> None:
        """Wake the main thread if it is blocked in `get` or `wait` of its task."""
        waiter = self._blocked_on
        if waiter is not None:
            waiter.finish()
