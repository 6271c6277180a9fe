"""Lines of a node's processes to executors of other hosts, over one link to each of those nodes.

Decisions are `core.link`; this carries bytes between Unix sockets and Dask comms. The side that
wants a line first makes the link, and makes it anew when its comm breaks; the other side waits for
that. Both give up when nothing has been heard for `GIVE_UP` seconds.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from ray_on_dask.core import link as ln
from ray_on_dask.core.link import Link
from ray_on_dask.ids import new_process_name
from ray_on_dask.plugins.line_end import LineEnd
from ray_on_dask.plugins.link_wire import Wire, can_be_raw, wire_on
from ray_on_dask.runtime.within import within
from ray_on_dask.wire.relay_messages import Batch, Relay as Wanted

logger = logging.getLogger("ray_on_dask")

#: Bytes of one message on a comm.
BATCH = 1 << 20
#: Seconds of silence after which a comm is taken for broken, and a link for lost.
SILENCE, GIVE_UP = 4.0, 20.0
#: Seconds for the first comm of a link.
FIRST = 6.0
#: Seconds for one try to connect, and between two tries.
CONNECT, AGAIN = 3.0, 0.3

#: ``await dial(node)`` gives a Dask comm to the node, whose first message is for `rod-link`;
#: `OSError` if it cannot be reached now, `LookupError` if it is dead.
Dial = Callable[[str], Awaitable[Any]]


class NodeLink:
    """The link to one other node."""

    def __init__(self, relay: Relay, id: str, peer: str, first: bool):
        self.relay = relay
        self.id = id
        self.peer = peer
        self.first = first
        self.link = Link(first)
        self.ends: dict[int, Any] = {}
        self.closed = False
        self.heard = relay.now()
        #: The comm under the link, None while there is none.
        self.wire: Wire | None = None
        #: The comm on which the other side has connected last.
        self.newest: Any = None
        self._ping = False
        self._task: asyncio.Task[None] | None = None

    # -- lines ---------------------------------------------------------------------------

    def open(self, executor: str, owner: str) -> Any:
        """A new line to an executor there; its local end is to be given a transport."""
        end = self.relay.make_end(self, self.link.open(executor, owner))
        self.ends[end.line] = end
        self._wake()
        return end

    def data(self, line: int, data: bytes) -> None:
        """The local end has read something."""
        self._carry_out(self.link.data(line, data))
        self._wake()

    def taken(self, line: int, count: int) -> None:
        """The local process has taken what was delivered."""
        self.link.taken(line, count)
        self._wake()

    def ended(self, line: int) -> None:
        """The local end has closed."""
        self.ends.pop(line, None)
        self.link.end(line)
        self._wake()

    def _carry_out(self, instructions: list[ln.Instruction]) -> None:
        for what in instructions:
            kind = type(what)
            if kind is ln.Opened:
                end = self.ends[what.line] = self.relay.make_end(self, what.line)
                end.executor, end.owner = what.executor, what.owner  # type: ignore[union-attr]
                self.relay.accept(end)
                continue
            end_or_none = self.ends.get(what.line)
            if end_or_none is None:
                continue
            if kind is ln.Deliver:
                end_or_none.deliver(what.data)  # type: ignore[union-attr]
            elif kind is ln.Pause:
                end_or_none.pause()
            elif kind is ln.Resume:
                end_or_none.resume()
            else:
                del self.ends[what.line]
                end_or_none.close()

    # -- the comm --------------------------------------------------------------------------

    def start(self) -> None:
        """Make the comm, and make it anew whenever it breaks (the first side)."""
        self._task = asyncio.ensure_future(self._keep_up())

    async def _keep_up(self) -> None:
        new = True
        try:
            while not self.closed:
                if self.relay.now() - self.heard > (FIRST if new else GIVE_UP):
                    self.relay.on_unreachable(self.peer)
                    break
                try:
                    comm = await self.relay.dial(self.peer)
                except OSError:
                    await asyncio.sleep(AGAIN)
                    continue
                answer = await self._greet(comm, new)
                if answer is not None:
                    new = False
                    await self.serve(comm, int(answer["received"]), bool(answer["raw"]))
        except LookupError:
            pass  # the node is dead
        except Exception:
            logger.exception("the link to node %s failed", self.peer)
        finally:
            self.lose()

    async def _greet(self, comm: Any, new: bool) -> dict[str, Any] | None:
        try:
            await comm.write(
                {
                    "op": self.relay.op, "link": self.id, "node": self.relay.name, "new": new,
                    "received": self.link.received, "raw": can_be_raw(comm), "reply": False,
                }
            )  # fmt: skip
            answer: dict[str, Any] = await within(CONNECT, comm.read())
        except (OSError, asyncio.TimeoutError):
            comm.abort()
            await asyncio.sleep(AGAIN)
            return None
        except asyncio.CancelledError:  # the link is given up
            comm.abort()
            raise
        if "error" in answer:
            comm.abort()
            raise LookupError(answer["error"])
        return answer

    async def serve(self, comm: Any, theirs: int, raw: bool) -> None:
        """Read and write on a comm until it breaks; the other side has `theirs` of our records."""
        if self.closed:  # given up while the two sides greeted each other
            comm.abort()
            return
        self.hang_up()
        self._carry_out(self.link.connected(theirs))
        self.wire = wire = wire_on(comm, raw, self._next, self._on_batch)
        self.heard = self.relay.now()
        try:
            await wire.run()
        except (OSError, ValueError, TypeError) as error:
            if not isinstance(error, OSError):
                logger.warning("garbage on the link to node %s: %s", self.peer, error)
        finally:
            wire.close()
            if self.wire is wire:
                self.wire = None

    def _wake(self) -> None:
        if self.wire is not None:
            self.wire.wake()

    def _next(self) -> Batch | None:
        """What is to be sent now."""
        batch = self.link.take(BATCH)
        if batch is None and self._ping:
            batch = self.link.ping()
        self._ping = False
        return batch

    def _on_batch(self, batch: Batch) -> None:
        self.heard = self.relay.now()
        self._carry_out(self.link.arrived(batch))
        self._wake()

    def tick(self, now: float) -> None:
        """Give a sign of life; drop a comm on which there is none, and give up in the end."""
        if self.wire is not None:
            if now - self.heard > SILENCE:
                self.wire.close()
            self._ping = True
            self._wake()
        elif not self.first and (now - self.heard > GIVE_UP or not self.ends):
            self.lose()

    def hang_up(self) -> None:
        """Drop the comm that there is."""
        if self.wire is not None:
            self.wire.close()
            self.wire = None

    def lose(self) -> None:
        """The link is gone for good: so are its lines."""
        if self.closed:
            return
        self.closed = True
        self.relay.forget(self)
        for end in self.ends.values():
            if end.executor:
                self.relay.on_lost(end.executor, end.owner)
        self._carry_out(self.link.lost())
        self.hang_up()
        if self._task is not None:
            self._task.cancel()


class Relay:
    """All links of one node.

    Parameters
    ----------
    name : str
        The node's.
    dial : callable
    connect : callable
        ``await connect(end)`` joins the end of a line to its executor, which is of this node;
        `OSError` or `LookupError` if there is none such.
    now : callable
    on_lost : callable
        ``on_lost(executor, owner)``: the line between them has ended with its link.
    """

    def __init__(
        self,
        name: str,
        dial: Dial,
        connect: Callable[[Any], Awaitable[None]],
        now: Callable[[], float],
        on_lost: Callable[[str, str], None],
    ):
        self.name = name
        self.dial = dial
        self.now = now
        self.on_lost = on_lost
        #: Called with the name of a node that cannot be connected to, and is not known to be dead.
        self.on_unreachable: Callable[[str], None] = lambda node: None
        #: The call that the other side's server answers.
        self.op = "rod-link"
        #: Makes the local end of a line.
        self.make_end: Callable[[NodeLink, int], Any] = LineEnd
        self.links: dict[str, NodeLink] = {}
        self._connect = connect
        self._by_node: dict[str, NodeLink] = {}
        self._joining: set[asyncio.Task[None]] = set()

    def line(self, wanted: Wanted) -> Any:
        """A new line to an executor of another node."""
        node = wanted.node
        link = self._by_node.get(node)
        if link is None or (not link.first and link.wire is None):
            link = NodeLink(self, new_process_name(), node, True)
            self.links[link.id] = self._by_node[node] = link
            link.start()
        return link.open(wanted.executor, wanted.owner)

    async def on_link(
        self, comm: Any, link: str, node: str, new: bool, received: int, raw: bool = False
    ) -> None:
        """Another node has connected: serve its link until the comm breaks."""
        found = self.links.get(link)
        if found is None and new:
            found = self.links[link] = NodeLink(self, link, node, False)
            self._by_node.setdefault(node, found)
        if found is None or found.first:
            await comm.write({"error": "this link has been given up"})
            return
        found.hang_up()
        found.newest = comm
        raw = raw and can_be_raw(comm)
        await comm.write({"received": found.link.received, "raw": raw})
        if found.newest is comm:  # else the other side has connected once more meanwhile
            await found.serve(comm, received, raw)

    def accept(self, end: Any) -> None:
        """The other side has opened a line: find the executor that it is for."""
        task = asyncio.ensure_future(self._join(end))
        self._joining.add(task)
        task.add_done_callback(self._joining.discard)

    async def _join(self, end: Any) -> None:
        try:
            await self._connect(end)
        except (OSError, LookupError):
            end.failed()

    def forget(self, link: NodeLink) -> None:
        """The link is gone."""
        self.links.pop(link.id, None)
        if self._by_node.get(link.peer) is link:
            del self._by_node[link.peer]

    def tick(self, now: float) -> None:
        """To be called each second."""
        for link in list(self.links.values()):
            link.tick(now)

    def node_gone(self, node: str) -> None:
        """A node is dead: its lines end at once."""
        for link in list(self.links.values()):
            if link.peer == node:
                link.lose()

    def close(self) -> None:
        """End every line."""
        for link in list(self.links.values()):
            link.lose()
        for task in self._joining:
            task.cancel()
