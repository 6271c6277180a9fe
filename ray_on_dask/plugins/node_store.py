"""A node's side of the object store: what lies where, who reads what, what is freed.

The bytes are written and read by the node's processes, without it; the node alone decides when a
place is given back. See `runtime.opening` for how an object is opened.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from ray_on_dask.core.freeing import Freeing
from ray_on_dask.core.stored_objects import (
    Instruction,
    KeepOnly,
    PunchHole,
    RemoveFile,
    Stored,
    StoredObjects,
)
from ray_on_dask.objectstore.holes import punch, punch_around
from ray_on_dask.objectstore.usage import clear_usage
from ray_on_dask.plugins.errors import make_error
from ray_on_dask.plugins.node_room import NodeRoom
from ray_on_dask.plugins.peers import Peers
from ray_on_dask.runtime.directories import host_id
from ray_on_dask.wire import messages as m

if TYPE_CHECKING:
    from ray_on_dask.plugins.node import NodeManager

logger = logging.getLogger("ray_on_dask")

#: Seconds for the word of an object's writer to come in after that of its owner.
SEAL_PATIENCE = 10.0

#: ``await fetcher(id, located)`` brings an object of another host to this node's store and gives
#: its place there; what it raises goes to whoever wants to read the object.
Fetcher = Callable[[bytes, m.Located], Awaitable[m.Located]]


class NodeStore:
    """The stored objects of one node."""

    def __init__(self, node: NodeManager):
        self.node = node
        self.objects = StoredObjects()
        self.room = NodeRoom(self)
        self.pins = self.room.machine.pins
        self.freeing = Freeing(self.pins)
        self.peers = Peers(node)
        self.fetcher: Fetcher = self._cannot_fetch
        #: Called with (stored objects, ids freed): Dask is told of them by the worker plugin.
        self.on_objects: Callable[[list[Stored], list[bytes]], None] = lambda new, gone: None
        #: {object that is not sealed yet: processes that want to read it}.
        self._awaited: dict[bytes, set[str]] = {}
        #: {object that is being found elsewhere: processes that want to read it}.
        self._coming: dict[bytes, set[str]] = {}
        #: {such an object: where it is, as who asked last had heard}.
        self._sought: dict[bytes, m.Located] = {}
        #: {object pinned at another node of this host in our name: that node}.
        self._at_peer: dict[bytes, str] = {}
        #: {dead writer of objects that live: its process id}.
        self._dead_writers: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._handlers: dict[type, Callable[[str, Any], None]] = {
            m.Sealed: self._sealed,
            m.Open: self._open,
            m.Closed: lambda process, message: self._closed(process, message.ids),
            m.Viewed: self.room.viewed,
            m.Forgotten: self._forgotten,
            m.NeedRoom: self.room.need,
            m.TookRoom: self.room.took,
        }

    def handles(self, message: object) -> bool:
        """Whether a message of a process is for the store."""
        if isinstance(message, m.FreeObjects | m.Unwanted):
            return message.node in ("", self.node.name)
        return type(message) in self._handlers

    def handle(self, process: str, message: Any) -> None:
        """A process says something that is for the store."""
        if type(message) is m.FreeObjects:
            self.free(message)
        elif type(message) is m.Unwanted:
            self.unwanted(message)
        else:
            self._handlers[type(message)](process, message)

    # -- objects come and go -----------------------------------------------------------------

    def _sealed(self, writer: str, message: m.Sealed) -> None:
        self._carry_out(self.objects.sealed(writer, message.id, message.at, message.key))
        stored = self.objects.objects.get(message.id)
        if stored is not None and stored.at is message.at:
            self.room.machine.sealed(message.id, message.at.size)
            self.on_objects([stored], [])
        if self.objects.is_gone(writer):
            self._ask_owners({message.id[:8].hex(): [(message.id, message.at)]})
        for process in self._awaited.pop(message.id, ()):
            self._answer(process, message.id)
        self.room.changed()

    def free(self, message: m.FreeObjects) -> None:
        """Nobody can reach these any more, or nobody is to."""
        readers = self.readers()
        if message.forced and readers:
            question = m.Forget(self.freeing.ask(message.ids, readers), message.ids)
            for process in readers:
                self.send(process, question)
        else:
            self._free(message.ids)

    def readers(self) -> list[str]:
        """The node's processes, which map objects without a word."""
        return [name for name, line in self.node.lines.items() if line.kind != "node"]

    def _forgotten(self, process: str, message: m.Forgotten) -> None:
        self.room.machine.viewed(process, 0, message.ids)
        self._free(self.freeing.answered(process, message.round))

    def _free(self, ids: list[bytes]) -> None:
        if not ids:
            return
        self.node.copying.freed(ids)
        free = self.freeing.free(ids)
        for id in free:
            self.room.machine.freed(id)
            self._carry_out(self.objects.freed(id))
        self.on_objects([], free)
        for writer, pid in list(self._dead_writers.items()):
            self._count_dead(writer, pid)

    def unwanted(self, message: m.Unwanted) -> None:
        """A result is nobody's."""
        stored = self.objects.objects.get(message.id)
        if stored is not None and stored.at == message.at and message.id not in self.objects.again:
            self._free([message.id])
            return
        self._carry_out(self.objects.unwanted(message.id, message.at))
        now = self.objects.objects.get(message.id)
        if now is not None and now is not stored:
            self.on_objects([now], [])

    def moved(self, id: bytes, at: m.Located) -> None:
        """An object lies on disk from now on."""
        self._carry_out(self.objects.moved(id, at), urgent=True)
        for writer, pid in list(self._dead_writers.items()):
            self._count_dead(writer, pid)

    def _count_dead(self, writer: str, pid: int) -> None:
        """What a dead process has written counts for as long as it is there."""
        left = self.objects.bytes_of(writer)
        clear_usage(self.node.directories.shm_dir, pid, left)
        if left:
            self._dead_writers[writer] = pid
        else:
            self._dead_writers.pop(writer, None)

    def owner_gone(self, message: m.OwnerGone) -> None:
        """A process is dead: what it owned and nobody else knows is garbage."""
        ids = self.objects.owner_gone(bytes.fromhex(message.process), set(message.keep))
        self._free(ids)

    def process_gone(self, name: str, pid: int) -> None:
        """A process is gone that may have read objects, and written some."""
        self._unpinned(self.room.process_gone(name))
        self._free(self.freeing.gone(name))
        for waiting in (*self._awaited.values(), *self._coming.values()):
            waiting.discard(name)
        directory = self.node.directories.shm_dir
        try:
            names = os.listdir(directory)
        except FileNotFoundError:
            return
        files = [os.path.join(directory, file) for file in names if file.split("-")[1:-1] == [name]]
        self._ask_owners(self.objects.unheard(name))
        self._carry_out(self.objects.writer_gone(name, files))
        if pid:
            self._count_dead(name, pid)

    def _ask_owners(self, written: dict[str, list[tuple[bytes, m.Located]]]) -> None:
        """A process is gone that has written these; it may not have told."""
        for owner, objects in written.items():
            self.node.up(self.node.name, m.Unheard(owner, objects))

    def _carry_out(self, instructions: list[Instruction], urgent: bool = False) -> None:
        for what in instructions:
            if isinstance(what, RemoveFile):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(what.path)
            elif isinstance(what, PunchHole):
                punch(what.place.segment, [(what.place.offset, what.place.size)])
            elif isinstance(what, KeepOnly):
                punch_around(what.path, what.kept)
            elif what.writer == self.node.name:
                self.node.copying.space_freed(what.place)
            else:
                self.send(what.writer, m.SpaceFreed([what.place], urgent))

    def send(self, process: str, message: object) -> None:
        """Say something to a process, if it is there."""
        line = self.node.lines.get(process)
        if line is not None:
            line.send(message)

    # -- objects are read ---------------------------------------------------------------------

    def _open(self, process: str, message: m.Open) -> None:
        for id, at in message.objects:
            if id in self.objects.objects or self.objects.was_freed(id):
                self._answer(process, id)
            elif at.node == self.node.name:
                self._await_seal(process, id)
            elif id in self._coming:
                self._coming[id].add(process)
                self._sought[id] = at
            else:
                self._coming[id] = {process}
                self._sought[id] = at
                task = asyncio.get_running_loop().create_task(self._bring(id, at))
                self._tasks.add(task)  # the loop itself holds tasks weakly
                task.add_done_callback(self._tasks.discard)

    def _answer(self, process: str, id: bytes) -> None:
        """Say where an object lies that is here, or is garbage."""
        stored = self.objects.objects.get(id)
        if stored is None or id in self.freeing.doomed:
            self.send(process, m.Opened(id, m.Value(m.FREED)))
        elif process in self.node.lines:
            self.room.machine.opened(process, id)
            self.send(process, m.Opened(id, m.Value(m.STORED, b"", stored.at)))

    def _await_seal(self, process: str, id: bytes) -> None:
        """Its owner knows of it, and its writer's word is still on its way."""
        if id not in self._awaited:
            asyncio.get_running_loop().call_later(SEAL_PATIENCE, self._not_sealed, id)
        self._awaited.setdefault(id, set()).add(process)

    def _not_sealed(self, id: bytes) -> None:
        for process in self._awaited.pop(id, ()):
            self.send(process, m.Opened(id, m.Value(m.FREED)))

    @staticmethod
    def lost(id: bytes, why: str) -> m.Value:
        """The answer for an object that cannot be had."""
        return m.Value(m.ERROR, make_error("ObjectLostError", {"id": id.hex(), "message": why}))

    async def _bring(self, id: bytes, at: m.Located) -> None:
        """Find an object of another node, and tell who waits for it."""
        value = await self._had_from(id, at)
        while value.kind != m.STORED and self._sought[id].node != at.node:
            at = self._sought[id]  # somebody knows better by now
            value = await self._had_from(id, at)
        del self._sought[id]
        waiting = [x for x in self._coming.pop(id, ()) if x in self.node.lines]
        for process in waiting:
            if value.kind == m.STORED:
                self.room.machine.opened(process, id)
            self.send(process, m.Opened(id, value))
        if value.kind == m.STORED and id not in self.pins:
            self._unpinned([id])

    async def _had_from(self, id: bytes, at: m.Located) -> m.Value:
        try:
            return await self._from_elsewhere(id, at)
        except LookupError:
            return m.Value(m.FREED)  # nobody has it: its owner may make it again
        except Exception as error:
            return self.lost(id, f"It could not be had from node {at.node}: {error}")

    async def _from_elsewhere(self, id: bytes, at: m.Located) -> m.Value:
        facts = await self.peers.facts(at.node)
        if facts is None or facts["host"] != host_id():
            return m.Value(m.STORED, b"", await self.fetcher(id, at))
        try:
            line = await self.peers.line(at.node, facts["hub"])
        except OSError:
            self.peers.forget(at.node)
            return m.Value(m.STORED, b"", await self.fetcher(id, at))
        value = await line.open(id, at)
        if value.kind == m.STORED:
            self._at_peer[id] = at.node
        return value

    async def _cannot_fetch(self, id: bytes, at: m.Located) -> m.Located:
        raise ConnectionError("it lies on another host, and nothing here can fetch it")

    def _closed(self, process: str, ids: list[bytes]) -> None:
        self._unpinned(self.room.machine.closed(process, ids))
        self.room.changed()

    def _unpinned(self, ids: list[bytes]) -> None:
        """Nobody here reads these any more."""
        self._free(self.freeing.unpinned(ids))
        at_peers: dict[str, list[bytes]] = {}
        for id in ids:
            if id in self._coming:
                continue  # asked for anew, for another process: `Closed` would end that pin too
            peer = self._at_peer.pop(id, None)
            if peer is not None:
                at_peers.setdefault(peer, []).append(id)
        for peer, theirs in at_peers.items():
            self.peers.closed(peer, theirs)

    # -- the end --------------------------------------------------------------------------------

    def close(self) -> None:
        """The node ends."""
        for task in self._tasks:
            task.cancel()
        self.peers.close()
        self.room.close()
