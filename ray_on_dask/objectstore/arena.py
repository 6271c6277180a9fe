"""A segment that many small objects share."""

from __future__ import annotations

import mmap

from ray_on_dask.objectstore.free_list import FreeList
from ray_on_dask.objectstore.segments import Segment

#: Bytes of an arena's address range. Memory is taken a chunk at a time.
ARENA_SIZE = 64 << 20


class Arena:
    """A segment with a `FreeList` over it.

    Parameters
    ----------
    path : str
        Where to make its file.
    size, block : int
        Its length, and the file system's block.

    Raises
    ------
    OSError
        With `errno.ENOSPC` if the file cannot be made.
    """

    __slots__ = ("idle_since", "segment", "space")

    def __init__(self, path: str, size: int = ARENA_SIZE, block: int = mmap.PAGESIZE):
        self.segment = Segment(path, size, backed=False, block=block)
        self.space = FreeList(size)
        #: When something was last freed here.
        self.idle_since = 0.0

    @property
    def warm(self) -> int:
        """Bytes of memory behind it that hold no object."""
        return max(self.segment.backed - self.space.used, 0)

    def allocate(self, size: int) -> int | None:
        """Where `size` bytes may be written, or None if there is no such room.

        Raises
        ------
        OSError
            With `errno.ENOSPC` if the file system is full; nothing is taken then.
        """
        start = self.space.allocate(size)
        if start is not None:
            try:
                self.segment.back(start, start + size)
            except OSError:
                self.space.free(start)
                raise
        return start

    def free(self, start: int, now: float) -> int:
        """Give a range back; its length. `ValueError` if it is not taken."""
        self.idle_since = now
        return self.space.free(start)

    def release_free_pages(self) -> None:
        """Give the memory behind all free chunks back to the system."""
        for start, stop in self.space.free_ranges():
            self.segment.release_pages(start, stop)
