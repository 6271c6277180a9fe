"""Which ranges of a span of bytes are free: arithmetic only, no memory."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

#: Every allocation starts at a multiple of this and is as long as one: a cache
#: line, and more than any dtype wants.
ALIGNMENT = 64


def aligned(size: int, alignment: int = ALIGNMENT) -> int:
    """`size` rounded up to a multiple of `alignment`, a power of two."""
    return (size + alignment - 1) & -alignment


class FreeList:
    """A first-fit allocator over `size` bytes.

    First fit packs low addresses: these are the pages that are warm, and the
    high ones stay empty and can be given back.

    Parameters
    ----------
    size : int
        Bytes to share out, a multiple of `ALIGNMENT`.

    Examples
    --------
    >>> space = FreeList(256)
    >>> space.allocate(100), space.allocate(100), space.allocate(1)
    (0, 128, None)
    >>> space.free(0)
    128
    """

    __slots__ = ("_largest", "_lengths", "_starts", "_taken", "size", "used")

    def __init__(self, size: int):
        self.size = size
        #: Sum of the lengths of what is taken.
        self.used = 0
        #: First bytes of the free ranges, ascending; no two ranges touch.
        self._starts: list[int] = [0]
        #: {first byte of a free range: its length}.
        self._lengths: dict[int, int] = {0: size}
        #: {first byte of a taken range: its length}.
        self._taken: dict[int, int] = {}
        #: No free range is longer than this.
        self._largest = size

    def __len__(self) -> int:
        return len(self._taken)

    def allocate(self, size: int) -> int | None:
        """Take `size` bytes (rounded up); where they start, or None if no free range is so long."""
        size = aligned(size) or ALIGNMENT
        if size > self._largest:
            return None
        lengths = self._lengths
        for i, start in enumerate(self._starts):
            if lengths[start] >= size:
                self._take(i, start, size)
                return start
        self._largest = size - ALIGNMENT
        return None

    def _take(self, i: int, start: int, size: int) -> None:
        left = self._lengths.pop(start) - size
        if left:
            self._starts[i] = start + size
            self._lengths[start + size] = left
        else:
            del self._starts[i]
        self._taken[start] = size
        self.used += size

    def free(self, start: int) -> int:
        """Give back what `allocate` gave at `start`; its length. `ValueError` if it is free."""
        size = self._taken.pop(start, None)
        if size is None:
            raise ValueError(f"nothing is allocated at offset {start}: was it freed before?")
        self.used -= size
        length = size
        i = bisect_left(self._starts, start)
        if i < len(self._starts) and self._starts[i] == start + size:
            length += self._lengths.pop(self._starts.pop(i))
        if i and self._starts[i - 1] + self._lengths[self._starts[i - 1]] == start:
            start = self._starts[i - 1]
            length += self._lengths[start]
        else:
            self._starts.insert(i, start)
        self._lengths[start] = length
        self._largest = max(self._largest, length)
        return size

    def free_ranges(self) -> Iterator[tuple[int, int]]:
        """(first byte, byte after the last) of each free range, ascending."""
        return ((start, start + self._lengths[start]) for start in self._starts)

    def validate(self) -> None:
        """Assert that free and taken ranges tile the span, and that no two free ones touch."""
        ranges = [(s, n, True) for s, n in self._lengths.items()]
        ranges += [(s, n, False) for s, n in self._taken.items()]
        end, was_free = 0, False
        for start, length, is_free in sorted(ranges):
            assert start == end, "ranges overlap or leave a gap"
            assert length > 0 and start % ALIGNMENT == length % ALIGNMENT == 0
            assert not (is_free and was_free), "neighbours were not joined"
            assert not is_free or length <= self._largest
            end, was_free = start + length, is_free
        assert end == self.size
        assert self.used == sum(self._taken.values())
        assert self._starts == sorted(self._lengths)
