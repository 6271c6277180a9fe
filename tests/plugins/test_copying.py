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
from ray_on_dask.plugins.stored_handle import StoredHandle
from ray_on_dask.wire import messages as m


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


def test_what_dask_has_brought_is_taken_in_as_soon_as_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node that it is from is about to go: nobody else may have it."""
    monkeypatch.setattr(copying, "NO_ROOM", 0.01)
    here = with_store(node(tmp_path))
    handle = StoredHandle(None, b"bytes", b"x" * 20, "home")
    tries = iter([ObjectStoreFullError("no room"), ObjectStoreFullError("no room"), None])

    async def main() -> None:
        copies = Copying(here)
        reserve = copies.reserve

        def reserve_when_free(size: int) -> Any:
            error = next(tries)
            if error is not None:
                raise error
            return reserve(size)

        monkeypatch.setattr(copies, "reserve", reserve_when_free)
        await copies.adopt("f-1", handle, lambda: True)
        (copied,) = here.said
        assert (copied.id, copied.home) == (handle.id, "home")
        assert handle.at == copied.at and handle.data == b""
        assert Path(copied.at.segment).read_bytes()[copied.at.offset :].startswith(b"bytes")
        copies.close()

    asyncio.run(main())


def test_what_dask_has_dropped_again_is_not_tried_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "NO_ROOM", 0.01)

    async def main() -> None:
        copies = Copying(with_store(node(tmp_path)))

        def full(size: int) -> Any:
            raise ObjectStoreFullError("no room")

        monkeypatch.setattr(copies, "reserve", full)
        wanted = iter([True, True, False])
        handle = StoredHandle(None, b"bytes", b"x" * 20, "home")
        await asyncio.wait_for(copies.adopt("f-1", handle, lambda: next(wanted)), 10)
        assert handle.at is None

    asyncio.run(main())
