"""Copies of large buffers at the speed of the memory, with the interpreter's lock let go."""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

#: From here on a copy lets other threads run; below, that costs more than the copy.
_UNLOCKED = 256 << 10
#: From here on NumPy is worth importing for it (100 ms).
_IMPORT_NUMPY = 64 << 20
#: From here on two threads copy: one core does not fill the memory bus.
_TWO_THREADS = 16 << 20
#: `_SC_LEVEL3_CACHE_SIZE` of glibc, for which Python has no name.
_LEVEL3_CACHE_SIZE = 194
_CORES = os.cpu_count() or 1


def _streaming_from() -> int:
    """Bytes from which on the C library writes past the caches, which is half as fast again.

    That is about three quarters of what all caches hold together: of the largest is enough.
    """
    try:
        cache = os.sysconf(_LEVEL3_CACHE_SIZE)
    except (OSError, ValueError):
        cache = 0
    return max(_TWO_THREADS, cache) if cache > 0 else 64 << 20


#: Two threads lose more than they gain where each has less than this.
_STREAMING = _streaming_from()


def copy_into(target: memoryview, source: memoryview) -> None:
    """Copy `source` into `target`: both flat, of bytes, and equally long."""
    size = source.nbytes
    np: Any = sys.modules.get("numpy")
    if size < _UNLOCKED or (np is None and size < _IMPORT_NUMPY):
        target[:] = source
        return
    if np is None:
        import numpy as np
    to, origin = np.frombuffer(target, np.uint8), np.frombuffer(source, np.uint8)
    pieces = 2 if size < _STREAMING else size // _STREAMING
    if size < _TWO_THREADS or _CORES == 1 or pieces == 1:
        np.copyto(to, origin)
    else:
        _copy_pieces(np, to, origin, pieces)


def _copy_pieces(np: Any, target: Any, source: Any, count: int) -> None:
    """Copy in two threads, each of which takes the next piece when it is done with one."""
    piece = (source.nbytes // count + 4095) & -4096
    starts = iter(range(0, source.nbytes, piece))

    def copy() -> None:
        for start in starts:
            np.copyto(target[start : start + piece], source[start : start + piece])

    other = threading.Thread(target=copy, daemon=True)
    other.start()
    copy()
    other.join()
