"""Memory without holes, for a process that is about to fork.

Python's allocator and `malloc` put new objects into whatever holes earlier ones have left, all
over the heap. In a child each of these writes copies a page that was shared. If the holes are
filled before the fork, what a child makes lies together on pages of its own.

Likewise, a call writes to the code that it runs, if only to count its references: code that is
used lies side by side, not between code that is not.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from types import CodeType, FrameType, FunctionType
from typing import Any

#: Of Python's allocator: bytes in a pool, of which the first are its header; sizes step by these.
POOL, POOL_HEADER, STEP, SMALL_MAX = 16_384, 48, 16, 512
#: Blocks of `malloc` that are filled, from the largest; above, it maps memory by itself.
LARGE_MAX, LARGE_MIN = 65_536, 600
#: Fills at most so many holes of one size.
LIMIT = 20_000

_OVERHEAD = sys.getsizeof(b"")
_filling: list[bytes] = []


def fill_holes() -> None:
    """Fill what is free between objects, for as long as this process lives."""
    for size in range(_OVERHEAD // STEP * STEP + STEP, SMALL_MAX + 1, STEP):
        _fill_pools(size)
    top = bytes(LARGE_MAX + LARGE_MAX // 2)  # lies behind all others, as there is no hole for it
    _filling.append(top)
    size = LARGE_MAX
    while size > LARGE_MIN:
        for _ in range(LIMIT):
            _filling.append(bytes(size - _OVERHEAD))
            if id(_filling[-1]) > id(top):
                break
        size = size * 4 // 5


def _fill_pools(size: int) -> None:
    """Make objects of one size until they fill a whole pool: there was no hole left."""
    run = before = 0
    for _ in range(LIMIT):
        _filling.append(bytes(size - _OVERHEAD))
        at = id(_filling[-1])
        run = run + 1 if at == before + size else 1
        before = at
        if run >= (POOL - POOL_HEADER) // size:
            return


def gather_code(run: Callable[[], None]) -> None:
    """Run something, lay the code that it ran side by side, and run it again to warm that."""
    used: dict[int, CodeType] = {}

    def note(frame: FrameType, event: str, arg: Any) -> None:
        if event == "call":
            used[id(frame.f_code)] = frame.f_code

    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(None)
    fill_holes()
    for found in gc.get_objects():
        if type(found) is FunctionType and id(found.__code__) in used:
            found.__code__ = found.__code__.replace()
    run()
