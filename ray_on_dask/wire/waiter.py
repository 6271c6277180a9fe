"""What a thread blocks on."""

from __future__ import annotations

import contextlib
import threading


class Waiter:
    """What a thread waits on: done after `count` calls of `one_done`, or `finish`.

    A thread that leads the reactor never sleeps on its waiter, so most of them have no lock.
    """

    __slots__ = ("_sem", "count", "done")

    def __init__(self, count: int = 1):
        self.count = count
        self.done = count <= 0
        self._sem: threading.Lock | None = None

    def arm(self) -> None:
        """From now on a nudge is remembered until the next `sleep`: call this before that."""
        if self._sem is None:
            sem = threading.Lock()
            sem.acquire()
            self._sem = sem

    def one_done(self) -> None:
        """One of the things waited for is there (call under the process's lock)."""
        self.count -= 1
        if self.count <= 0:
            self.finish()

    def finish(self) -> None:
        """Wake the thread for good."""
        self.done = True
        self.nudge()

    def finished(self, _: object) -> None:
        """Likewise, as what is called when the one thing waited for is there."""
        self.finish()

    def nudge(self) -> None:
        """Wake the thread to look around."""
        if self._sem is not None:
            with contextlib.suppress(RuntimeError):  # it is awake
                self._sem.release()

    def sleep(self, timeout: float) -> None:
        """Sleep until nudged, at most `timeout` seconds (-1: for ever); it must be armed."""
        assert self._sem is not None
        self._sem.acquire(timeout=timeout)
