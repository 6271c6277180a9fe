"""Other nodes, as one node sees them: what is known of them, and lines to those on its host.

A node opens another node's object for its own processes: on the same host it asks that node's hub
as if it were one of its processes, and hands the answer on. So whatever is read is pinned at the
node that has it, by somebody who has a line to it.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ray_on_dask.wire import messages as m
from ray_on_dask.wire.channel import peer_is_ours
from ray_on_dask.wire.frames import FrameReader, pack

if TYPE_CHECKING:
    from ray_on_dask.plugins.node import NodeManager

logger = logging.getLogger("ray_on_dask")


class PeerLine(asyncio.Protocol):
    """A line to the hub of another node on this host."""

    def __init__(self, node: NodeManager, on_lost: Callable[[], None]):
        self.node = node
        self.closed = False
        self._on_lost = on_lost
        self._reader = FrameReader()
        self._transport: Any = None
        self._waiting: dict[bytes, asyncio.Future[m.Value]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say who we are."""
        self._transport = transport
        if not peer_is_ours(transport.get_extra_info("socket")):
            transport.close()
            return
        self.send(m.Hello(self.node.name, "node", os.getpid()))

    def data_received(self, data: bytes) -> None:
        """Answers have come; garbage ends the line."""
        try:
            messages = self._reader.feed(data)
        except ValueError:
            logger.warning("garbage from another node: its line is closed")
            self._transport.abort()
            return
        for message in messages:
            if isinstance(message, m.Opened):
                waiting = self._waiting.pop(message.id, None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(message.value)

    def connection_lost(self, error: Exception | None) -> None:
        """The other node is gone, or we are."""
        self.closed = True
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(ConnectionError("the node that has the object is gone"))
        self._waiting.clear()
        self._on_lost()

    def send(self, message: object) -> None:
        """Send one message, if the line is up."""
        if not self.closed:
            self._transport.write(pack(message))

    async def open(self, id: bytes, at: m.Located) -> m.Value:
        """Where an object of that node can be mapped; `ConnectionError` if it goes meanwhile."""
        if self.closed:
            raise ConnectionError("the node that has the object is gone")
        waiting = self._waiting.get(id)
        if waiting is None:
            waiting = self._waiting[id] = asyncio.get_running_loop().create_future()
            self.send(m.Open([(id, at)]))
        return await asyncio.shield(waiting)

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()


class Peers:
    """What a node knows of the others."""

    def __init__(self, node: NodeManager):
        self.node = node
        self._facts: dict[str, dict[str, Any]] = {}
        self._lines: dict[str, PeerLine] = {}
        self._connecting = asyncio.Lock()

    async def facts(self, name: str) -> dict[str, Any] | None:
        """What the control store says of a living node, None if there is none of that name."""
        found = self._facts.get(name)
        if found is None:
            for facts in await self.node.dialer.ask("nodes"):
                if facts["alive"]:
                    self._facts[facts["name"]] = facts
            found = self._facts.get(name)
        return found

    def forget(self, name: str) -> None:
        """Ask anew when it is next needed: it may be gone."""
        self._facts.pop(name, None)

    # -- lines ------------------------------------------------------------------------------

    async def line(self, name: str, hub: str) -> PeerLine:
        """The line to a node on this host; `OSError` if it is gone."""
        async with self._connecting:  # one line a node: it answers on the last that it knows
            line = self._lines.get(name)
            if line is None or line.closed:
                loop = asyncio.get_running_loop()
                _, line = await loop.create_unix_connection(
                    lambda: PeerLine(self.node, lambda: self._lost(name)), hub
                )
                self._lines[name] = line
            return line

    def _lost(self, name: str) -> None:
        line = self._lines.get(name)
        if line is None or line.closed:
            self._lines.pop(name, None)
            self.forget(name)

    def closed(self, name: str, ids: list[bytes]) -> None:
        """Nobody here reads these objects of another node any more."""
        line = self._lines.get(name)
        if line is not None:
            line.send(m.Closed(ids))

    def close(self) -> None:
        """Hang up everywhere."""
        for line in list(self._lines.values()):
            line.close()
