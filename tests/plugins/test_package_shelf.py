"""Packages beside the control store: taken part by part, given to nodes, let go of."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from ray_on_dask.plugins import package_shelf
from ray_on_dask.plugins.package_shelf import PackageShelf


@pytest.fixture
def store() -> Any:
    """What a shelf asks its control store: two jobs with a driver each."""
    return SimpleNamespace(
        extra={},
        members={"one": SimpleNamespace(job=1), "two": SimpleNamespace(job=2)},
        jobs={1: SimpleNamespace(ended=0.0), 2: SimpleNamespace(ended=0.0)},
    )


@pytest.fixture
def clock() -> list[float]:
    """The time."""
    return [0.0]


@pytest.fixture
def shelf(
    store: Any, clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> Iterator[PackageShelf]:
    """One with room for 10 bytes."""
    monkeypatch.setattr(package_shelf, "LIMIT", 10)
    made = PackageShelf(store, lambda: clock[0])
    yield made
    made.close()


def put(shelf: PackageShelf, sender: str, name: str, data: bytes) -> bool:
    """Whether a package had to be sent."""
    if not shelf.begin(sender, name, len(data)):
        return False
    for start in range(0, len(data), 3):
        shelf.part(sender, name, start, data[start : start + 3])
    return True


def test_a_package_is_sent_once_and_read_by_anybody(shelf: PackageShelf) -> None:
    assert put(shelf, "one", "a", b"01234567")
    assert not put(shelf, "two", "a", b"01234567")
    assert shelf.read("node", "a", 0) == [8, b"01234567"]
    assert shelf.read("node", "a", 6) == [8, b"67"]
    with pytest.raises(KeyError, match="has no package"):
        shelf.read("node", "b", 0)


def test_half_a_package_is_none_and_parts_come_in_order(shelf: PackageShelf) -> None:
    assert shelf.begin("one", "a", 6)
    shelf.part("one", "a", 0, b"012")
    for sender, start, data in (("one", 0, b"012"), ("two", 3, b"345"), ("one", 3, b"34567")):
        with pytest.raises(ValueError, match="is not expected"):
            shelf.part(sender, "a", start, data)
    with pytest.raises(KeyError):
        shelf.read("node", "a", 0)
    assert put(shelf, "two", "a", b"0123")  # two at the same time
    shelf.part("one", "a", 3, b"345")
    assert shelf.read("node", "a", 0)[0] == 4


def test_only_what_no_running_job_has_asked_for_gives_room(
    shelf: PackageShelf, store: Any, clock: list[float]
) -> None:
    put(shelf, "one", "a", b"0123")
    clock[0] = 1.0
    put(shelf, "two", "b", b"0123")
    with pytest.raises(ValueError, match="no room"):
        shelf.begin("two", "c", 4)
    store.jobs[1].ended = 1.0
    assert put(shelf, "two", "c", b"0123")
    with pytest.raises(KeyError):
        shelf.read("node", "a", 0)
    assert shelf.read("node", "b", 0)[0] == 4


def test_what_a_dead_driver_has_begun_gives_room(shelf: PackageShelf, clock: list[float]) -> None:
    assert shelf.begin("one", "a", 8)
    with pytest.raises(ValueError, match="no room"):
        shelf.begin("two", "b", 8)
    clock[0] = package_shelf.SILENCE + 1
    assert put(shelf, "two", "b", b"01234567")
