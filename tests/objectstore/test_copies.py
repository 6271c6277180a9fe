"""Copies of buffers, in one thread and in two, with pieces of all sizes."""

from __future__ import annotations

import os
import threading

import pytest

from ray_on_dask.objectstore import copying


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done to large buffers is done to small ones."""
    monkeypatch.setattr(copying, "_UNLOCKED", 64)
    monkeypatch.setattr(copying, "_IMPORT_NUMPY", 64)
    monkeypatch.setattr(copying, "_TWO_THREADS", 8192)


@pytest.mark.parametrize("streaming", [8192, 40_000, 100_000, 1 << 20])
@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 10_000, 65_537, 80_000, 300_001, 1 << 20])
def test_all_is_copied_and_nothing_beyond(
    monkeypatch: pytest.MonkeyPatch, size: int, streaming: int
) -> None:
    monkeypatch.setattr(copying, "_STREAMING", streaming)
    monkeypatch.setattr(copying, "_CORES", 2)
    source, target = os.urandom(size), bytearray(size + 1)

    copying.copy_into(memoryview(target)[:size], memoryview(source))

    assert target == source + b"\0"


@pytest.mark.parametrize(
    ("size", "cores", "threads"),
    [(1 << 20, 2, 2), (2 << 20, 1, 1), (3 << 20, 2, 1), (4 << 20, 2, 2), (1000, 2, 1)],
)
def test_two_threads_copy_where_they_gain(
    monkeypatch: pytest.MonkeyPatch, size: int, cores: int, threads: int
) -> None:
    """Halves below the size that is written past the caches; from twice that on, such pieces."""
    monkeypatch.setattr(copying, "_STREAMING", 2 << 20)
    monkeypatch.setattr(copying, "_CORES", cores)
    begun: list[threading.Thread] = []
    start = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", lambda x: (begun.append(x), start(x))[1])

    copying.copy_into(memoryview(bytearray(size)), memoryview(bytes(size)))

    assert len(begun) == threads - 1
