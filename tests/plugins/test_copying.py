"""Copies of other hosts' objects in a node's store."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ray_on_dask.core.stored_objects import StoredObjects
from ray_on_dask.exceptions import ObjectStoreFullError
from ray_on_dask.objectstore.store import Store
from ray_on_dask.plugins import copying
from ray_on_dask.plugins.copying import Copying
from ray_on_dask.plugins.transfer import Brought, NotThere
from ray_on_dask.wire import messages as m

ID = b"x" * 20


def node(tmp_path: Path) -> Any:
    """As much of a node as copies need."""
    return SimpleNamespace(
        name="ab" * 28, capacity=64 << 20, now=time.monotonic,
        dialer=SimpleNamespace(dial=None), directories=SimpleNamespace(shm_dir=str(tmp_path)),
        store=SimpleNamespace(room=SimpleNamespace(wait=None), objects=StoredObjects()),
    )  # fmt: skip


def with_store(node: Any) -> Any:
    """The node, whose store takes objects in, and what it says to the control store."""

    def sealed(writer: str, message: m.Sealed) -> None:
        node.store.objects.sealed(writer, message.id, message.at, message.key)

    node.said = []
    node.store.handle = sealed
    node.up = lambda sender, message: node.said.append(message)
    return node


def test_copies_that_come_at_once_have_room_of_one_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first ones make the store, in several threads: two would use the same files."""

    class Slow(Store):
        def __init__(self, *args: Any):
            time.sleep(0.05)
            super().__init__(*args)

    monkeypatch.setattr(copying, "Store", Slow)
    copies, together = Copying(node(tmp_path)), threading.Barrier(4)

    def reserve(_: int) -> Any:
        together.wait(10)
        return copies.reserve(100_000)

    with ThreadPoolExecutor(4) as threads:
        rooms = [room.located for room in threads.map(reserve, range(4))]
    assert len({(at.segment, at.offset) for at in rooms}) == 4
    for at in rooms:
        copies.give_back(at)  # known to the one store that there is
    copies.close()


def reads(copies: Copying, *outcomes: Exception | None) -> None:
    """What comes of reading objects of other nodes: an error, or the object."""
    left = iter(outcomes)

    async def read(id: bytes, nodes: list[str]) -> Brought:
        error = next(left)
        if error is not None:
            raise error
        room = copies.reserve(5)
        room.write_at(0, b"bytes")
        return Brought(room.located, "f-1", nodes[0])

    copies.reading.read = read  # type: ignore[method-assign]


def test_an_object_whose_key_dask_has_moved_is_brought_as_soon_as_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node that it is from is about to go: nobody else may have it."""
    monkeypatch.setattr(copying, "NO_ROOM", 0.01)

    async def main() -> None:
        here = with_store(node(tmp_path))
        copies = Copying(here)
        full = ObjectStoreFullError("no room")
        reads(copies, full, full, None, None)
        await asyncio.wait_for(copies.adopt(ID, "home", lambda: True), 10)
        (copied,) = here.said
        assert (copied.id, copied.home) == (ID, "home")
        assert Path(copied.at.segment).read_bytes()[copied.at.offset :].startswith(b"bytes")
        assert [stored.id for stored in copies.shared()] == [ID]
        await copies.adopt(ID, "home", lambda: True)
        assert (await copies.fetch(ID, copied.at)) == copied.at, "it is here already"
        assert len(here.said) == 1
        copies.close()

    asyncio.run(main())


def test_what_dask_has_dropped_again_or_nobody_has_is_not_tried_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "NO_ROOM", 0.01)

    async def main() -> None:
        here = with_store(node(tmp_path))
        copies = Copying(here)
        full = ObjectStoreFullError("no room")
        reads(copies, full, full, NotThere("gone"))

        async def ask(what: str, **args: Any) -> Any:
            return {"nodes": [], "coming": False}

        here.dialer.ask = ask
        wanted = iter([True, True, False, True])
        await asyncio.wait_for(copies.adopt(ID, "home", lambda: next(wanted)), 10)
        await asyncio.wait_for(copies.adopt(ID, "home", lambda: next(wanted)), 10)
        assert not here.said

    asyncio.run(main())


def test_a_copy_is_read_also_when_it_took_long_to_find_the_home_dead(tmp_path: Path) -> None:
    """To connect to a node that has just died may take all the time there is for a search."""

    async def main() -> None:
        here, clock = with_store(node(tmp_path)), [0.0]
        here.now = lambda: clock[0]
        copies = Copying(here)
        room = copies.reserve(5).located

        async def read(id: bytes, nodes: list[str]) -> Brought:
            if nodes == ["home"]:
                clock[0] += 60.0
                raise NotThere("it is dead")
            return Brought(room, "f-1", nodes[0])

        async def ask(what: str, **args: Any) -> Any:
            return {"nodes": ["other"], "coming": False}

        copies.reading.read, here.dialer.ask = read, ask  # type: ignore[method-assign]
        assert await asyncio.wait_for(copies.fetch(ID, m.Located("home", "", 0, 5)), 10) == room
        copies.close()

    asyncio.run(main())


def test_the_loop_does_not_wait_for_a_thread_that_has_memory_reserved(tmp_path: Path) -> None:
    async def story() -> None:
        copies = Copying(node(tmp_path))
        allocation = copies.reserve(1000)
        loop, store = asyncio.get_running_loop(), copies._own_store()
        with store._lock:
            copies.tick()
            copies.give_back(allocation.located)
            assert store.used
            copies.tick()  # the first one goes on in its thread
        while store.used:
            await asyncio.sleep(0.01)
        await loop.run_in_executor(None, copies.close)

    asyncio.run(asyncio.wait_for(story(), 10))


def test_a_thread_that_wants_room_of_a_node_that_has_ended_is_told_so(tmp_path: Path) -> None:
    from ray_on_dask.plugins.node_room import NodeRoom

    async def story() -> None:
        ended = node(tmp_path)
        ended.loop = asyncio.get_running_loop()
        room = NodeRoom(SimpleNamespace(node=ended))  # type: ignore[arg-type]
        room.close()
        with pytest.raises(ConnectionError, match="has ended"):
            await ended.loop.run_in_executor(None, room.wait, 1000, False)

    asyncio.run(asyncio.wait_for(story(), 10))
