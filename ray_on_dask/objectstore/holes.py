"""Memory, or disk, behind parts of files that nobody writes any more, given back."""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Iterable

from ray_on_dask.objectstore.segments import block_size, map_file

_MADV_REMOVE = 9


def punch(path: str, ranges: Iterable[tuple[int, int]]) -> None:
    """Give back the whole pages within these (offset, size); what cannot be is left."""
    with contextlib.suppress(OSError, ValueError):
        block = block_size(os.path.dirname(path))
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            length = os.fstat(descriptor).st_size
            mm = map_file(descriptor, length, mmap.PROT_READ | mmap.PROT_WRITE)
        finally:
            os.close(descriptor)
        with mm:
            for offset, size in ranges:
                first = -(-offset // block) * block
                last = length if offset + size >= length else (offset + size) // block * block
                if last > first:
                    mm.madvise(_MADV_REMOVE, first, last - first)


def punch_around(path: str, kept: Iterable[tuple[int, int]]) -> None:
    """Give back all of a file but these (offset, size), which are in order."""
    with contextlib.suppress(OSError):
        gaps, end = [], 0
        for offset, size in kept:
            gaps.append((end, offset - end))
            end = offset + size
        gaps.append((end, os.stat(path).st_size - end))
        punch(path, gaps)
