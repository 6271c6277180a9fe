"""Copies of other hosts' objects in a node's store."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ray_on_dask.objectstore.store import Store
from ray_on_dask.plugins import copying
from ray_on_dask.plugins.copying import Copying


def node(tmp_path: Path) -> Any:
    """As much of a node as copies need."""
    return SimpleNamespace(
        name="ab" * 28, capacity=64 << 20, now=time.monotonic,
        dialer=SimpleNamespace(dial=None), directories=SimpleNamespace(shm_dir=str(tmp_path)),
        store=SimpleNamespace(room=SimpleNamespace(wait=None)),
    )  # fmt: skip


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
