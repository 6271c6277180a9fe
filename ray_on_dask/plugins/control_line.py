"""A line that carries messages between a gateway and the control store, in place of bytes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from ray_on_dask.wire import messages as m

if TYPE_CHECKING:
    from ray_on_dask.plugins.relay import NodeLink

logger = logging.getLogger("ray_on_dask")

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[tuple[str, bytes]]).decode


class ControlLine:
    """One end: messages with a name, of who sends them or whom they are for."""

    def __init__(self, link: NodeLink, line: int):
        self.link = link
        self.line = line
        self.executor = self.owner = ""
        self.closed = False
        #: Called at the end.
        self.on_end: Callable[[], None] = lambda: None
        self._on_message: Callable[[str, Any], None] | None = None
        #: What has come before anybody listens.
        self._early: list[bytes] = []
        self._frames: list[tuple[str, bytes]] = []

    def listen(self, on_message: Callable[[str, Any], None]) -> None:
        """Call `on_message(name, message)` for what has come, and for what comes."""
        self._on_message = on_message
        early, self._early = self._early, []
        for data in early:
            self.deliver(data)

    def send(self, name: str, message: object) -> None:
        """Send one message; those of one turn of the loop go together."""
        if self.closed:
            return
        if not self._frames:
            asyncio.get_running_loop().call_soon(self.flush)
        self._frames.append((name, m.encode(message)))

    def flush(self) -> None:
        """Send what there is now."""
        frames, self._frames = self._frames, []
        if frames and not self.closed:
            self.link.data(self.line, _encode(frames))

    def deliver(self, data: bytes) -> None:
        """Messages have come; one that is bad is dropped."""
        if self._on_message is None:
            self._early.append(data)
            return
        self.link.taken(self.line, len(data))
        try:
            for name, frame in _decode(data):
                self._on_message(name, m.decode(frame))
        except Exception:
            logger.exception("bad messages on the line to %s", self.link.peer)

    def pause(self) -> None:
        """The other side is slow: what is said meanwhile is kept by the link."""

    def resume(self) -> None:
        """It has caught up."""

    def failed(self) -> None:
        """The other side is not let in."""
        self.hang_up()

    def close(self) -> None:
        """The other side has ended the line, or the link is lost."""
        if not self.closed:
            self.closed = True
            self.on_end()

    def hang_up(self) -> None:
        """End the line from here."""
        self.flush()
        if not self.closed:
            self.closed = True
            self.link.ended(self.line)
