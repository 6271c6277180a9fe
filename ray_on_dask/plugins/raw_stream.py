"""Bytes straight on the socket of a Dask comm, without Dask's messages around them.

A message of Dask's costs several times what a small call costs otherwise, and each of its frames
is copied. So once two nodes have greeted each other by messages, and both have a TCP or TLS comm,
they go on below them. Reading and writing are done where the event is: no task is woken.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import Any

from ray_on_dask.plugins import _dask_compat_streams as streams
from ray_on_dask.wire.read_buffer import CHUNK, read_buffer

#: Bytes read of one event: the other sockets of the loop come in between.
READ_MAX = 1 << 20
#: Bytes of a file given to a socket at a time.
FILE_CHUNK = 1 << 20


def can_be_raw(comm: Any) -> bool:
    """Whether this end of a comm can be used below Dask's messages."""
    return streams.stream_of(comm) is not None


class RawStream:
    """One comm, taken over.

    Parameters
    ----------
    comm : distributed.comm.Comm
        For which `can_be_raw` holds at both ends.
    on_bytes : callable
        ``on_bytes(view)`` is called with what has come; the view is gone afterwards. What it raises
        ends the stream.
    on_room : callable
        Called when all has been written, after a `write` that could not write all.
    """

    def __init__(
        self, comm: Any, on_bytes: Callable[[memoryview], None], on_room: Callable[[], None]
    ):
        self.comm = comm
        self.closed = False
        #: Whether something waits for the socket.
        self.full = False
        self._on_bytes = on_bytes
        self._on_room = on_room
        self._stream = streams.stream_of(comm)
        self._plain = streams.is_plain(self._stream)
        self._out: deque[memoryview] = deque()
        #: (descriptor, offset, bytes left) of a file that is on its way.
        self._file: tuple[int, int, int] | None = None
        self._error: Exception | None = None
        self._end: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def start(self) -> None:
        """Take the comm over; `OSError` if it is closed already."""
        if self._stream is None:
            raise ConnectionError("the comm is closed")
        early = await streams.take_over(self._stream, self._on_events, self._on_close)
        if early:
            try:
                self._on_bytes(memoryview(early))
            except Exception as error:
                self._fail(error)
        if not self._plain:
            self._look()  # what has been decrypted already makes no event

    async def ended(self) -> None:
        """Wait for the end, which is an `OSError`, or what `on_bytes` has raised."""
        await asyncio.wait([self._end])  # who waits may be cancelled; the end is not
        raise self._error or ConnectionError("the stream is closed")

    def close(self) -> None:
        """End it from here, at once."""
        self.closed = True
        self._out.clear()
        self._file = None
        self._on_close()

    def drop_when_closed(self) -> None:
        """Have closing discard what has not been sent.

        The pages of a file that are on their way are not copied: once nobody keeps them in
        place, other bytes might go out in their place.
        """
        if self._plain and not self._stream.closed():
            linger = struct.pack("ii", 1, 0)
            self._stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    def _on_close(self) -> None:
        self.closed = True
        self.comm.abort()
        if not self._end.done():
            self._end.set_result(None)

    def _fail(self, error: Exception) -> None:
        self._error = self._error or error
        self.close()

    # -- reading --------------------------------------------------------------------------

    def _on_events(self, _: Any, events: int) -> None:
        readable, writable = streams.happened(self._stream, events)
        try:
            if writable and self.full:
                self._write_on()
            if readable:
                self._read()
        except Exception as error:
            self._fail(error)

    def _look(self) -> None:
        try:
            self._read()
        except Exception as error:
            self._fail(error)

    def _read(self) -> None:
        read, buffer = 0, read_buffer()
        while not (self.closed or self._stream.closed()):
            count = self._stream.read_from_fd(buffer)
            if count is None:
                return
            if count == 0:
                raise ConnectionError("the other side has hung up")
            self._on_bytes(buffer[:count])
            read += count
            if self._plain and count < CHUNK:
                return
            if read >= READ_MAX:
                if not self._plain:  # what has been decrypted already makes no event
                    asyncio.get_running_loop().call_soon(self._look)
                return

    # -- writing ----------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Write, now if the socket takes it; to be given less while it is `full`."""
        if not (self.closed or self._stream.closed()):
            self._out.append(memoryview(data))
            self._write_soon()

    def write_file(self, file: int, offset: int, size: int) -> None:
        """Write a part of a file after all that has been written.

        Raises
        ------
        ValueError
            If another is on its way.
        """
        if self._file is not None:
            raise ValueError("one file at a time")
        if size and not (self.closed or self._stream.closed()):
            self._file = (file, offset, size)
            self._write_soon()

    @property
    def sends_file(self) -> bool:
        """Whether a file is on its way."""
        return self._file is not None

    def _write_soon(self) -> None:
        if self.full:
            return
        try:
            self._write_on()
        except OSError as error:
            self._fail(error)

    def _write_on(self) -> None:
        was_full = self.full
        self.full = not (self._write_out() and self._write_file())
        if self.full != was_full:
            streams.watch_writable(self._stream, self.full)
        if was_full and not self.full:
            self._on_room()

    def _write_out(self) -> bool:
        out = self._out
        while out:
            try:
                count = self._stream.write_to_fd(out[0])
            except BlockingIOError:
                count = 0
            if count == len(out[0]):
                out.popleft()
            elif count:
                out[0] = out[0][count:]
            else:
                return False
        return True

    def _write_file(self) -> bool:
        """Some of it: the other sockets of the loop come in between."""
        if self._file is None:
            return True
        file, offset, left = self._file
        size = min(left, FILE_CHUNK)
        if self._plain:
            try:
                count = os.sendfile(self._stream.socket.fileno(), file, offset, size)
            except BlockingIOError:
                return False
        else:
            data = os.pread(file, size, offset)
            count = len(data)
            self._out.append(memoryview(data))
        if not count:
            raise ConnectionError("the bytes are gone")
        left -= count
        self._file = (file, offset + count, left) if left else None
        return not left and self._write_out()
