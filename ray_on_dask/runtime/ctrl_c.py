"""Ctrl-C in a driver: raised between two steps of this package's, never in the middle of one.

An exception that comes at any bytecode would lose a task between its entry in a table and its
message. So the handler looks where the main thread is. In the user's code, or blocked in a wait,
it raises `KeyboardInterrupt` as Python does. While messages are handled it leaves word,
and the reactor raises behind them. Anywhere else in this package it comes again a moment later.
"""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any

from ray_on_dask.wire.reactor import Reactor

_PACKAGE = __name__.partition(".")[0] + "."
#: Seconds after which the signal comes again.
AGAIN = 0.005


class _Handler:
    """The handler of one session."""

    def __init__(self, reactor: Reactor):
        self.reactor = reactor
        #: Whether the signal is on its way once more.
        self._coming = False

    def __call__(self, number: int, frame: FrameType | None) -> Any:
        reactor = self.reactor
        if reactor.handling and reactor.leader == threading.get_ident():
            reactor.interrupted = True
        elif self._in_the_middle(frame):
            self._send_again(number)
        else:
            signal.default_int_handler(number, frame)

    def _send_again(self, number: int) -> None:
        if self._coming:
            return
        self._coming = True

        def send() -> None:
            self._coming = False
            os.kill(os.getpid(), number)

        again = threading.Timer(AGAIN, send)
        again.daemon = True
        again.start()

    @staticmethod
    def _in_the_middle(frame: FrameType | None) -> bool:
        """Whether a step of this package's is under way, and not a wait."""
        while frame is not None:
            if frame.f_globals.get("__name__", "").startswith(_PACKAGE):
                waits = frame.f_code.co_name in ("sleep", "_await_events", "_look_around")
                return not waits
            frame = frame.f_back
        return False


def guard(reactor: Reactor) -> None:
    """Take SIGINT over, if this is the main thread and nobody else has."""
    if threading.current_thread() is threading.main_thread() and (
        signal.getsignal(signal.SIGINT) is signal.default_int_handler
    ):
        signal.signal(signal.SIGINT, _Handler(reactor))


def unguard() -> None:
    """Give it back."""
    if threading.current_thread() is threading.main_thread() and isinstance(
        signal.getsignal(signal.SIGINT), _Handler
    ):
        signal.signal(signal.SIGINT, signal.default_int_handler)
