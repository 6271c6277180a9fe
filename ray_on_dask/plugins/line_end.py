"""The local end of a relayed line: a Unix socket to an owner, or to an executor."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ray_on_dask.wire.channel import peer_is_ours
from ray_on_dask.wire.read_buffer import Reader

if TYPE_CHECKING:
    from ray_on_dask.plugins.relay import NodeLink

#: Bytes that a socket's transport keeps before its process counts as slow.
HIGH_WATER = 256 << 10


class LineEnd(Reader):
    """One end of one line.

    What comes before there is a transport is kept; the line's credit bounds it.
    """

    def __init__(self, link: NodeLink, line: int):
        self.link = link
        self.line = line
        #: The process at this end if it is an executor, and the one at the other.
        self.executor = self.owner = ""
        self.closed = False
        self._transport: Any = None
        self._early: list[bytes] = []
        self._untaken = 0
        self._slow = False
        self._paused = False

    # -- from the socket --------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected to the local process."""
        self._transport = transport
        if not peer_is_ours(transport.get_extra_info("socket")):
            transport.abort()  # type: ignore[attr-defined]
            return
        transport.set_write_buffer_limits(HIGH_WATER)  # type: ignore[attr-defined]
        early, self._early = self._early, []
        for data in early:
            self.deliver(data)
        if self._paused:
            self._transport.pause_reading()
        if self.closed:
            self._transport.close()

    def take_in(self, view: memoryview | bytes) -> None:
        """The local process says something."""
        if not self.closed:
            self.link.data(self.line, bytes(view))

    def pause_writing(self) -> None:
        """The local process is slow: it has not taken what is written from here on."""
        self._slow = True

    def resume_writing(self) -> None:
        """It has caught up."""
        self._slow = False
        self._tell_taken()

    def connection_lost(self, error: Exception | None) -> None:
        """The local process has closed the line, or is gone."""
        if not self.closed:
            self.closed = True
            self.link.ended(self.line)

    def failed(self) -> None:
        """There is no local process to connect to."""
        self._early.clear()
        self.connection_lost(None)

    # -- from the link -------------------------------------------------------------------

    def deliver(self, data: bytes) -> None:
        """Hand bytes to the local process."""
        if self._transport is None:
            self._early.append(data)
            return
        self._untaken += len(data)
        self._transport.write(data)
        if not self._slow:
            self._tell_taken()

    def _tell_taken(self) -> None:
        count, self._untaken = self._untaken, 0
        if count:
            self.link.taken(self.line, count)

    def pause(self) -> None:
        """Read no more for now."""
        self._paused = True
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        self._paused = False
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self) -> None:
        """The other side has ended the line: close when all is written."""
        self.closed = True
        if self._transport is not None:
            self._transport.close()
