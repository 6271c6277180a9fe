"""The hub: a node's Unix-socket server, for its executors and the drivers on its host."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from typing import TYPE_CHECKING, Any

from ray_on_dask.wire.channel import listen, peer_is_ours
from ray_on_dask.wire.frames import FrameReader, pack
from ray_on_dask.wire.read_buffer import Reader
from ray_on_dask.wire.relay_messages import Relay

if TYPE_CHECKING:
    from ray_on_dask.plugins.node import NodeManager

logger = logging.getLogger("ray_on_dask")


class Line(Reader):
    """One process's connection to the hub."""

    def __init__(self, node: NodeManager):
        self.node = node
        self.process = ""
        self.kind = ""
        self.pid = 0
        self.closed = False
        self._transport: Any = None
        self._reader = FrameReader()
        self._out: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody has connected: only processes of this user may."""
        self._transport = transport
        if not peer_is_ours(transport.get_extra_info("socket")):
            transport.close()

    def take_in(self, view: memoryview) -> None:
        """Handle what has come; garbage closes this line and nothing else."""
        try:
            data = view if self.process else self._begin(view)
            messages = self._reader.feed(data) if data else []
        except ValueError:
            logger.warning("garbage from process %r: its line is closed", self.process)
            self._transport.abort()
            return
        for message in messages:
            self._handle(message)

    def _begin(self, data: memoryview) -> bytes:
        """Handle the first message: after one that asks for a relay, nothing is opened here."""
        first, rest = self._reader.first(data)
        if type(first) is Relay:
            end = self.node.relay.line(first)
            self._transport.set_protocol(end)
            end.connection_made(self._transport)
            if rest:
                end.take_in(rest)
            return b""
        if first is not None:
            self._handle(first)
        return rest

    def _handle(self, message: object) -> None:
        try:
            self.node.on_message(self, message)
        except Exception:
            logger.exception("could not handle %s of %s", type(message).__name__, self.process)

    def connection_lost(self, error: Exception | None) -> None:
        """The process has gone, or has hung up."""
        self.closed = True
        with contextlib.suppress(Exception):
            self.node.on_line_lost(self)

    def send(self, message: object) -> None:
        """Send one message; those of one turn of the loop go in one write."""
        if self.closed:
            return
        if not self._out:
            asyncio.get_running_loop().call_soon(self._flush)
        self._out.append(pack(message))

    def _flush(self) -> None:
        out, self._out = self._out, []
        if not self.closed:
            self._transport.write(b"".join(out))

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._flush()
            self._transport.close()


async def start_hub(node: NodeManager, path: str) -> asyncio.AbstractServer:
    """Listen at `path`, for this user's processes alone."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    loop = asyncio.get_running_loop()
    return await loop.create_unix_server(lambda: Line(node), sock=listen(path))
