"""Reactors with one end of a socket pair each; all within this process."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ray_on_dask.wire.channel import Channel
from ray_on_dask.wire.messages import Message
from ray_on_dask.wire.reactor import Reactor, Waiter


class Party:
    """A reactor, and what has come to it."""

    def __init__(self) -> None:
        self.ticks: list[float] = []
        self.seconds = -1.0
        self.reactor = Reactor(self.ticks.append, lambda: self.seconds)
        self.messages: list[Message] = []
        self.closed: list[Channel] = []
        self.others: list[socket.socket] = []
        self.handler: Callable[[Channel, list[Message]], None] | None = None

    def connect(self) -> tuple[Channel, socket.socket]:
        """A new channel and the other end of it, which blocks and gives up after 5 seconds."""
        ours, theirs = socket.socketpair(socket.AF_UNIX)
        ours.setblocking(False)
        theirs.settimeout(5.0)
        self.others.append(theirs)
        return Channel(ours, self.reactor, self.on_messages, self.closed.append), theirs

    def on_messages(self, channel: Channel, messages: list[Message]) -> None:
        self.messages += messages
        if self.handler is not None:
            self.handler(channel, messages)

    def poll(self, timeout: float = 0.0) -> None:
        """Handle what has come."""
        self.reactor.wait(Waiter(), timeout)


@pytest.fixture
def party() -> Iterator[Party]:
    party = Party()
    yield party
    if not party.reactor.closed:
        party.reactor.close()
    for other in party.others:  # what pytest keeps of a test may hold it
        other.close()


@pytest.fixture
def run() -> Iterator[Callable[..., threading.Thread]]:
    """Start a function in a thread; they all have to end within 5 seconds."""
    threads = []

    def start(call: Callable[..., Any], *args: Any) -> threading.Thread:
        thread = threading.Thread(target=call, args=args, daemon=True)
        threads.append(thread)
        thread.start()
        return thread

    yield start
    for thread in threads:
        thread.join(5.0)
        assert not thread.is_alive(), "a thread is still waiting"
