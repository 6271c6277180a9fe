"""Freed segments that wait, mapped, for the next object of about their size."""

from __future__ import annotations

from ray_on_dask.objectstore.segments import Segment

#: Seconds that free memory is kept for.
WARM_SECONDS = 1.0


class WarmSegments:
    """A small pool of segments, each with the time at which it was freed."""

    __slots__ = ("_pool", "size")

    def __init__(self) -> None:
        #: Oldest first.
        self._pool: list[tuple[float, Segment]] = []
        #: Bytes of them all.
        self.size = 0

    def __len__(self) -> int:
        return len(self._pool)

    def add(self, segment: Segment, now: float) -> None:
        """Keep a segment that was freed `now`."""
        self._pool.append((now, segment))
        self.size += segment.size

    def take(self, size: int) -> Segment | None:
        """The smallest segment of at least `size` bytes, if half of it would be used at least."""
        fitting = [s for _, s in self._pool if size <= s.size <= 2 * size]
        if not fitting:
            return None
        best = min(fitting, key=lambda segment: segment.size)
        self._pool = [entry for entry in self._pool if entry[1] is not best]
        self.size -= best.size
        return best

    def trim(self, before: float, limit: int) -> list[Segment]:
        """Those freed by `before`, and the oldest of what exceeds `limit` bytes: no longer here."""
        dropped = []
        while self._pool and (self._pool[0][0] <= before or self.size > limit):
            segment = self._pool.pop(0)[1]
            self.size -= segment.size
            dropped.append(segment)
        return dropped
