"""Files of shared memory: made, mapped, written, given back.

A write into fresh tmpfs pages is several times slower than one into pages that
exist and are mapped, and page faults are most of it. So a segment knows, chunk
by chunk, what state its pages are in, and picks the way to write: `pwrite` into
fresh ones (no fault, and no zeroing of what is overwritten anyway), one
`madvise` that maps pages in bulk before an existing chunk is written for the
first time through the mapping, a plain copy ever after.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import resource
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from ray_on_dask.objectstore.copying import copy_into

#: States of a chunk: no memory behind it; memory but nothing written; written,
#: but not mapped here; mapped here and writable at full speed.
HOLE, FRESH, CACHED, MAPPED = range(4)
#: Bytes whose state is tracked together.
CHUNK = 1 << 20
#: Fresh memory is written by `pwrite` from this size on.
_PWRITE_FROM = 1 << 20
#: More buffers than this are copied through the mapping, fresh or not.
_PWRITE_PARTS = 64
#: `madvise` holds the interpreter's lock, so it is called for so much at a time.
_POPULATE_STEP = 32 << 20
_MADV_REMOVE = 9
_MADV_POPULATE_WRITE = 23  # Linux 5.14
_WRITTEN = bytes((HOLE, CACHED, CACHED, MAPPED)) + bytes(252)

Buffer = Any


def block_size(directory: str) -> int:
    """Bytes that a file in `directory` grows by: 4096, or a huge page on hugetlbfs."""
    return max(os.statvfs(directory).f_bsize, mmap.PAGESIZE)


def raise_file_limit() -> None:
    """Raise the soft limit of open files to the hard one: each mapping may cost a descriptor."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def map_file(descriptor: int, size: int, prot: int) -> mmap.mmap:
    """Map the first `size` bytes of an open file, shared; the descriptor may be closed then."""
    if sys.version_info >= (3, 13):
        return mmap.mmap(descriptor, size, mmap.MAP_SHARED, prot, trackfd=False)
    return mmap.mmap(descriptor, size, mmap.MAP_SHARED, prot)


def map_for_reading(path: str) -> mmap.mmap:
    """Map a segment that another process writes.

    Raises
    ------
    FileNotFoundError
        If it is gone.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        return map_file(descriptor, os.fstat(descriptor).st_size, mmap.PROT_READ)
    finally:
        os.close(descriptor)


class Segment:
    """A file of shared memory that this process writes.

    Parameters
    ----------
    path : str
        Where to make it; nothing may be there.
    size : int
        Its length in bytes, a multiple of the file system's block.
    backed : bool
        Whether to take the memory now. If not, `back` does so piece by piece.

    Raises
    ------
    OSError
        With `errno.ENOSPC` if the memory is not there; the file is removed again.
    """

    __slots__ = ("_chunk", "_file", "_states", "backed", "memory", "mm", "path", "size")

    def __init__(self, path: str, size: int, backed: bool = True, block: int = mmap.PAGESIZE):
        self.path = path
        self.size = size
        self._chunk = max(CHUNK, block)
        #: One state per chunk.
        self._states = bytearray(-(-size // self._chunk))
        #: Bytes of memory behind it.
        self.backed = 0
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(self._file, size)
            if backed:
                self.back(0, size)
            self.mm = map_file(self._file, size, mmap.PROT_READ | mmap.PROT_WRITE)
        except BaseException:
            self.unlink()
            raise
        self.memory = memoryview(self.mm)

    def _window(self, start: int, stop: int) -> tuple[int, int]:
        return start // self._chunk, -(-stop // self._chunk)

    def _runs(self, first: int, last: int, states: Iterable[int]) -> Iterable[tuple[int, int]]:
        """(offset, length) of each longest run of chunks in any of `states`."""
        chunk, wanted, begin = self._chunk, frozenset(states), -1
        for i in range(first, last + 1):
            inside = i < last and self._states[i] in wanted
            if inside and begin < 0:
                begin = i
            elif not inside and begin >= 0:
                yield begin * chunk, min(i * chunk, self.size) - begin * chunk
                begin = -1

    def back(self, start: int, stop: int) -> None:
        """Take memory for all chunks that the range touches; `OSError` if there is none."""
        first, last = self._window(start, stop)
        if HOLE not in self._states[first:last]:
            return
        for offset, length in list(self._runs(first, last, (HOLE,))):
            os.posix_fallocate(self._file, offset, length)
            a, b = self._window(offset, offset + length)
            self._states[a:b] = bytes([FRESH]) * (b - a)
            self.backed += length

    def release_pages(self, start: int, stop: int) -> None:
        """Give back the memory of all chunks that lie wholly in the range, which nobody may use."""
        chunk = self._chunk
        first = -(-start // chunk)
        last = len(self._states) if stop == self.size else stop // chunk
        for offset, length in list(self._runs(first, last, (FRESH, CACHED, MAPPED))):
            self.mm.madvise(_MADV_REMOVE, offset, length)
            a, b = self._window(offset, offset + length)
            self._states[a:b] = bytes(b - a)
            self.backed -= length

    def buffer(self, start: int, size: int) -> memoryview:
        """`size` writable bytes from `start`, their pages mapped."""
        self._populate(*self._window(start, start + size))
        return self.memory[start : start + size]

    def write(self, start: int, parts: Sequence[Buffer], size: int) -> None:
        """Write flat byte buffers, `size` bytes in all, one after the other from `start`."""
        first, last = self._window(start, start + size)
        window = self._states[first:last]
        if window.count(MAPPED) != last - first:
            fresh = size >= _PWRITE_FROM and FRESH in window and len(parts) <= _PWRITE_PARTS
            if fresh and self._write_file(start, parts):
                self._states[first:last] = window.translate(_WRITTEN)
                return
            self._populate(first, last)
        memory = self.memory
        for part in parts:
            stop = start + len(part)
            if stop - start < 65536:
                memory[start:stop] = part
            else:
                copy_into(memory[start:stop], memoryview(part))
            start = stop

    def write_unmapped(self, start: int, data: Buffer) -> None:
        """Write from `start` without touching the mapping, which would count as memory in use."""
        if not self._write_file(start, [data]):
            self.write(start, [data], len(data))

    def _write_file(self, start: int, parts: Sequence[Buffer]) -> bool:
        try:
            for part in parts:
                rest = memoryview(part)
                while rest:
                    written = os.pwrite(self._file, rest, start)
                    rest, start = rest[written:], start + written
        except OSError as error:
            if error.errno != errno.EINVAL:  # hugetlbfs can only be written through a mapping
                raise
            return False
        return True

    def _populate(self, first: int, last: int) -> None:
        if self._states.count(MAPPED, first, last) == last - first:
            return
        for offset, length in list(self._runs(first, last, (FRESH, CACHED))):
            for at in range(offset, offset + length, _POPULATE_STEP):
                with contextlib.suppress(OSError):  # an older kernel: faults do it then
                    step = min(_POPULATE_STEP, offset + length - at)
                    self.mm.madvise(_MADV_POPULATE_WRITE, at, step)
            a, b = self._window(offset, offset + length)
            self._states[a:b] = bytes([MAPPED]) * (b - a)

    def close(self) -> None:
        """Let go of the file; the memory stays mapped for as long as a view is left."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def unlink(self) -> None:
        """Remove the file, and let go of it."""
        self.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
