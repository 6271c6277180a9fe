"""Copies of other hosts' objects in a node's store, and what this node hands out to others.

A copy is an object of this node's store like any other, written by the node itself; it stays until
the object is freed everywhere (`core.copies`). Dask learns of it as of one more replica of the
object's key. If Dask drops that again (its memory manager wants one replica of each), nothing
happens here: what a node has it knows from its own table.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ray_on_dask.core.stored_objects import Stored
from ray_on_dask.objectstore.store import Allocation, Store
from ray_on_dask.plugins.serving import Serving
from ray_on_dask.plugins.transfer import Brought, NotThere, Reading
from ray_on_dask.wire import messages as m

if TYPE_CHECKING:
    from ray_on_dask.plugins.node import NodeManager

logger = logging.getLogger("ray_on_dask")

#: Seconds for which nodes are tried that live and cannot be reached, or that have it not (yet).
UNREACHABLE, ABSENT = 30.0, 3.0
#: Seconds for a gateway to hand an object over.
COMING = 300.0
#: Seconds between two tries, first and last; and where there is no room.
PAUSE, PAUSE_MAX, NO_ROOM = 0.05, 0.5, 1.0
#: Objects whose keys Dask has moved here that are brought at a time: others are read as well.
AT_ONCE = 4


class Copying:
    """What crosses hosts of the object store of one node."""

    def __init__(self, node: NodeManager):
        self.node = node
        self.reading = Reading(node.name, node.dialer.dial, self.reserve, self.give_back)
        self._store: Store | None = None
        #: Room is reserved in threads, several at once: only one of them may make the store.
        self._making = threading.Lock()
        #: Objects here of which there may be copies elsewhere, or that are copies.
        self._elsewhere: set[bytes] = set()
        self._readers = 0
        self._trimming: asyncio.Future[None] | None = None
        self._adoptions = asyncio.Semaphore(AT_ONCE)

    # -- from others ------------------------------------------------------------------------

    async def fetch(self, id: bytes, at: m.Located) -> m.Located:
        """Bring an object to this node's store, from wherever it is: its place here.

        Raises
        ------
        LookupError
            If no node has it, or it is garbage by now.
        OSError
            If a node has it that cannot be reached.
        ObjectStoreFullError
            If there is no room here.
        """
        brought = await self._find(id, at.node)
        stored = self.node.store.objects.objects.get(id)
        if stored is not None:  # it has come on another way meanwhile
            self.give_back(brought.at)
            return stored.at
        return self.take_in(id, brought, at.node)

    async def _find(self, id: bytes, home: str) -> Brought:
        since, pause, nodes, asked = self.node.now(), PAUSE, [home], {home}
        while True:
            try:
                return await self.reading.read(id, nodes)
            except (NotThere, OSError) as error:
                found = await self.node.dialer.ask("holders", id=id, home=home)
                nodes = found["nodes"]
                if not nodes and not found["coming"]:
                    raise LookupError("no node has it any more") from error
                limit = ABSENT if isinstance(error, NotThere) else UNREACHABLE
                late = self.node.now() - since > (COMING if found["coming"] else limit)
                if late and asked.issuperset(nodes):  # to ask one may have taken long
                    raise
                asked.update(nodes)
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, PAUSE_MAX)

    def take_in(self, id: bytes, brought: Brought, home: str) -> m.Located:
        """Make what has come an object of this node's; `LookupError` if it is garbage by now."""
        self._elsewhere.add(id)
        self.node.store.handle(self.node.name, m.Sealed(id, brought.at, brought.key))
        stored = self.node.store.objects.objects.get(id)
        if stored is None:
            self._elsewhere.discard(id)
            raise LookupError("it was freed while it was on its way")
        self.node.up(self.node.name, m.Copied(id, stored.at, home))
        return stored.at

    async def adopt(self, id: bytes, home: str, wanted: Callable[[], bool]) -> None:
        """Bring an object whose key Dask has moved here, as when a worker retires.

        Where there is no room, or no way, it is tried again for as long as it is `wanted`: the
        node that has it may be about to go.
        """
        complained = False
        while wanted():
            try:
                async with self._adoptions:
                    if id not in self.node.store.objects.objects:
                        await self.fetch(id, m.Located(home, "", 0, 0))
                return
            except LookupError:
                return  # it was freed meanwhile
            except Exception as error:
                if not complained:
                    logger.warning("object %s does not come here for now: %s", id.hex(), error)
                complained = True
            await asyncio.sleep(NO_ROOM)

    def shared(self) -> list[Stored]:
        """Objects here of which there may be copies elsewhere."""
        objects = self.node.store.objects.objects
        return [objects[id] for id in self._elsewhere if id in objects]

    def reserve(self, size: int) -> Allocation:
        """Room in this node's store, to be written by the node itself."""
        return self._own_store().reserve(size)

    def _own_store(self) -> Store:
        with self._making:
            if self._store is None:
                node = self.node
                shm, wait = node.directories.shm_dir, node.store.room.wait
                self._store = Store(shm, node.name, node.name, node.capacity, wait)
            return self._store

    def give_back(self, place: m.Located) -> None:
        """Take back room of which nothing came, or whose object is gone."""
        self._own_store().free_soon(place)

    # -- to others -----------------------------------------------------------------------------

    async def serve(self, comm: Any, reader: str, raw: bool) -> None:
        """Hand objects out on a comm of another node's."""
        self._readers += 1
        await Serving(comm, self, f"{reader}#{self._readers}", raw).run()

    def open_for(self, reader: str, id: bytes) -> Stored | None:
        """Keep an object in place for a reader; None if it is not here."""
        stored = self.node.store.objects.objects.get(id)
        if stored is not None:
            self._elsewhere.add(id)
            self.node.store.pins.opened(reader, id)
        return stored

    def close_for(self, reader: str, id: bytes) -> None:
        """It is not read any more."""
        self.node.store.handle(reader, m.Closed([id]))

    # -- ends ------------------------------------------------------------------------------------

    def freed(self, ids: list[bytes]) -> None:
        """These are garbage: so are their copies."""
        gone = [id for id in ids if id in self._elsewhere]
        if gone:
            self._elsewhere.difference_update(gone)
            self.node.up(self.node.name, m.CopiesFreed(gone))

    def space_freed(self, place: m.Located) -> None:
        """Room of a copy may be used again."""
        self.give_back(place)

    def tick(self) -> None:
        """To be called each second."""
        self.reading.trim(self.node.now())
        if self._store is not None and (self._trimming is None or self._trimming.done()):
            # In a thread: others may have memory reserved just now, which takes its time.
            loop = asyncio.get_running_loop()
            self._trimming = loop.run_in_executor(None, self._store.trim)

    def close(self) -> None:
        """The node ends."""
        self.reading.close()
        if self._store is not None:
            self._store.close()
