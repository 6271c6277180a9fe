"""The files of other processes that this one has mapped to read from."""

from __future__ import annotations

import mmap
import os
import sys
import threading

from ray_on_dask.objectstore.segments import map_for_reading

#: Seconds that a mapping is kept after its last use: a writer that reuses its
#: warm segment is then read without new page faults.
IDLE_SECONDS = 1.0
#: References to a mapping that no view uses: the entry's, and getrefcount's own.
_UNUSED = 2


class Mapping:
    """One mapped file."""

    __slots__ = ("mm", "used_at")

    def __init__(self, mm: mmap.mmap):
        self.mm = mm
        #: When it was last seen in use.
        self.used_at = 0.0


class Mappings:
    """Maps a file when it is first asked for, and lets go of it when it is of no more use.

    A mapping that some view reads is never dropped while its file is there, or a
    process that holds many objects of one arena would map it many times over.
    """

    def __init__(self) -> None:
        self._by_path: dict[str, Mapping] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._by_path)

    @property
    def size(self) -> int:
        """Bytes of all that is mapped."""
        return sum(len(mapping.mm) for mapping in list(self._by_path.values()))

    def get(self, path: str) -> mmap.mmap:
        """The file, mapped read-only.

        Raises
        ------
        FileNotFoundError
            If it is gone.
        """
        mapping = self._by_path.get(path)
        if mapping is None:
            with self._lock:
                mapping = self._by_path.get(path)
                if mapping is None:
                    mapping = self._by_path[path] = Mapping(map_for_reading(path))
        mapping.used_at = -1.0
        return mapping.mm

    def trim(self, now: float, arena: str = "a-") -> None:
        """Drop what is not in use and is gone, or is no arena and has been idle for a second.

        Parameters
        ----------
        now : float
            Seconds, as of `time.monotonic`.
        arena : str
            What names of files begin with that many objects share.
        """
        with self._lock:
            for path, mapping in list(self._by_path.items()):
                if sys.getrefcount(mapping.mm) > _UNUSED or mapping.used_at < 0:
                    mapping.used_at = now
                elif not os.path.exists(path) or (
                    now - mapping.used_at >= IDLE_SECONDS
                    and not os.path.basename(path).startswith(arena)
                ):
                    del self._by_path[path]

    def close(self) -> None:
        """Let go of all; what views still use stays mapped until they die."""
        with self._lock:
            self._by_path.clear()
