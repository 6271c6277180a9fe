"""What sockets of an event loop are read into.

`socket.recv` of much makes room for much, even if little comes: that costs several times the
read itself. So all sockets of a thread are read into one buffer, and what has come is copied.
"""

from __future__ import annotations

import asyncio
import threading

#: Bytes read at a time.
CHUNK = 256 << 10


class _Buffer(threading.local):
    def __init__(self) -> None:
        self.view = memoryview(bytearray(CHUNK))


_buffer = _Buffer()


def read_buffer() -> memoryview:
    """This thread's buffer, `CHUNK` bytes; what is in it is gone with the next read."""
    return _buffer.view


class Reader(asyncio.BufferedProtocol):
    """A protocol that is told what has come by `take_in`, as a view that is gone afterwards."""

    def take_in(self, view: memoryview) -> None:
        """Something has come."""
        raise NotImplementedError

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the transport is to read into."""
        return _buffer.view

    def buffer_updated(self, count: int) -> None:
        """The transport has read."""
        self.take_in(_buffer.view[:count])
