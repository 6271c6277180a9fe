"""The floor that bare processes set."""

from __future__ import annotations

from pathlib import Path

from benchmarks import bare_writers


def test_more_bytes_take_longer_and_nothing_is_left() -> None:
    """Arrays of 24 MB in all against a few numbers."""
    before = set(Path("/dev/shm").iterdir())
    assert 0 < bare_writers.seconds(3, 10) < bare_writers.seconds(3, 1_000_000)
    assert set(Path("/dev/shm").iterdir()) == before
