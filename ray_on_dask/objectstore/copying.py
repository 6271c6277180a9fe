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
#: From here on two threads copy a half each: one core does not fill the memory bus.
_TWO_THREADS = 16 << 20
_CORES = os.cpu_count() or 1


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
    if size < _TWO_THREADS or _CORES == 1:
        np.copyto(to, origin)
    else:
        _copy_halves(np, to, origin)


def _copy_halves(np: Any, target: Any, source: Any) -> None:
    half = (source.nbytes // 2) & -4096
    other = threading.Thread(target=np.copyto, args=(target[:half], source[:half]), daemon=True)
    other.start()
    np.copyto(target[half:], source[half:])
    other.join()
