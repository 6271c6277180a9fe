"""The files that one process writes: where each of its objects lies, and what is free.

Not safe for threads, and counts nothing against the capacity: `Store` does both.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from ray_on_dask.objectstore.arena import ARENA_SIZE, Arena
from ray_on_dask.objectstore.free_list import aligned
from ray_on_dask.objectstore.segments import Segment, block_size
from ray_on_dask.objectstore.warm import WarmSegments
from ray_on_dask.wire.messages import Located

#: Objects of at least this many bytes have a segment of their own.
OWN_SEGMENT = 8 << 20


class Places:
    """Arenas for small objects, a segment for each large one, and those kept warm.

    Parameters
    ----------
    directory, process : str
        Where the files are, and a part of their names that no other process uses.
    """

    def __init__(self, directory: str, process: str):
        self._prefix = os.path.join(directory, "%s-" + process.replace("%", "%%") + "-%d")
        self._block = block_size(directory)
        self._files = 0
        #: {path: arena}, oldest first: the first with room is taken.
        self._arenas: dict[str, Arena] = {}
        #: {path: segment that holds one object}.
        self._segments: dict[str, Segment] = {}
        self._spare = WarmSegments()

    @property
    def warm(self) -> int:
        """Bytes of memory that hold no object."""
        return self._spare.size + sum(arena.warm for arena in self._arenas.values())

    @property
    def used(self) -> int:
        """Bytes that the objects take."""
        small = sum(arena.space.used for arena in self._arenas.values())
        return small + sum(segment.size for segment in self._segments.values())

    def room_for(self, size: int) -> int:
        """Bytes that an object of `size` bytes will take, unless it gets a warm segment."""
        if size < OWN_SEGMENT:
            return aligned(size or 1)
        return -(-size // self._block) * self._block

    def find(self, path: str) -> Segment | None:
        """The segment behind a file, if an object of this process may be there."""
        segment = self._segments.get(path)
        if segment is None:
            arena = self._arenas.get(path)
            segment = None if arena is None else arena.segment
        return segment

    def take_warm(self, size: int) -> Segment | None:
        """A warm segment for a large object, if there is one; `add` or `restore` it."""
        return self._spare.take(size) if size >= OWN_SEGMENT else None

    def add(self, segment: Segment) -> None:
        """From now on `segment` holds an object."""
        self._segments[segment.path] = segment

    def restore(self, segment: Segment) -> None:
        """Put back what `take_warm` gave."""
        self._spare.add(segment, time.monotonic())

    def allocate(self, room: int) -> tuple[Segment, int]:
        """A file, and where in it an object of `room` bytes may be written.

        Raises
        ------
        OSError
            If the memory is not there; nothing is taken then.
        """
        if room >= OWN_SEGMENT:
            segment = Segment(self._new_path("s"), room, block=self._block)
            self._segments[segment.path] = segment
            return segment, 0
        for arena in self._arenas.values():
            offset = arena.allocate(room)
            if offset is not None:
                return arena.segment, offset
        arena = Arena(self._new_path("a"), max(ARENA_SIZE, self._block), self._block)
        self._arenas[arena.segment.path] = arena
        offset = arena.allocate(room)
        assert offset is not None
        return arena.segment, offset

    def _new_path(self, kind: str) -> str:
        self._files += 1
        return self._prefix % (kind, self._files)

    def free(self, located: Located, now: float) -> int:
        """Take a place back; the bytes it took.

        Raises
        ------
        ValueError
            If no object lies there.
        """
        arena = self._arenas.get(located.segment)
        if arena is not None:
            return arena.free(located.offset, now)
        segment = self._segments.pop(located.segment, None)
        if segment is None:
            raise ValueError(f"no object of this process lies at {located}: was it freed before?")
        self._spare.add(segment, now)
        return segment.size

    def trim(self, before: float, limit: int) -> None:
        """Give back what was freed by `before`, and what exceeds `limit` bytes."""
        for segment in self._spare.trim(before, limit):
            segment.unlink()
        left = limit - self._spare.size
        for path, arena in list(self._arenas.items()):
            if arena.warm and (arena.idle_since <= before or arena.warm > left):
                arena.release_free_pages()
            if not (arena.space.used or arena.segment.backed):
                arena.segment.unlink()
                del self._arenas[path]
            left -= arena.warm

    def _all(self) -> Iterator[Segment]:
        yield from (arena.segment for arena in self._arenas.values())
        yield from self._segments.values()

    def close(self, unlink: bool) -> None:
        """Let go of all files, and remove them; without `unlink`, none that holds an object."""
        self.trim(float("inf"), 0)
        for segment in self._all():
            if unlink:
                segment.unlink()
            else:
                segment.close()
        # What lies there is unmapped when its last view goes, whoever still knows this object.
        self._arenas.clear()
        self._segments.clear()

    def abandon(self) -> None:
        """Let go of all files in a process that was forked from their writer."""
        for segment in (*self._all(), *self._spare.trim(float("inf"), 0)):
            segment.close()

    def validate(self) -> None:
        """Assert that the arenas are in order."""
        for arena in self._arenas.values():
            arena.space.validate()
