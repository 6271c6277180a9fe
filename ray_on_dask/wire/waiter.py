"""What a thread blocks on."""

from __future__ import annotations

import contextlib
import threading


class Waiter:
    """What a thread waits on: done after `count` calls of `one_done`, or `finish`."""

    __slots__ = ("_sem", "count", "done")

    def __init__(self, count: int = 1):
        self.count = count
        self.done = count <= 0
        self._sem = threading.Lock()
        self._sem.acquire()

    def one_done(self) -> None:
        """One of the things waited for is there (call under the process's lock)."""
        self.count -= 1
        if self.count <= 0:
            self.finish()

    def finish(self) -> None:
        """Wake the thread for good."""
        self.done = True
        self.nudge()

    def nudge(self) -> None:
        """Wake the thread to look around."""
        with contextlib.suppress(RuntimeError):  # it is awake
            self._sem.release()

    def sleep(self, timeout: float) -> None:
        """Sleep until nudged, at most `timeout` seconds (-1: for ever)."""
        self._sem.acquire(timeout=timeout)
