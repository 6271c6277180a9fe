"""Reading an object where it lies, and knowing when nobody does any more.

Whatever is made from a view without a copy (an array, a slice of it, a frame
over it) keeps, through the buffer protocol, one small array of the view's alive;
a weak reference tells when that dies. Nothing has to be said about *what* was
made, and nothing can be forgotten.
"""

from __future__ import annotations

import itertools
import mmap
import threading
import weakref
from collections.abc import Callable
from typing import Any

# Nothing is called while this is held, so the garbage collector cannot come in between.
_making = threading.Lock()
_serial = itertools.count()


class View:
    """An object of the store, open for reading. Made by `Store.open`.

    Keep it for as long as the object may be read again: then a read costs no more
    than its unpickling. `close` lets go.

    Parameters
    ----------
    mm : mmap
        The file that holds the object.
    offset, size : int
        Where it lies.
    on_dead : callable, optional
        Called without arguments, once, when the view is closed and all that was
        made from it is garbage. It may be called by the garbage collector, inside
        of anything: it may append to a deque, and no more.
    lives : dict
        Gets an entry, taken out again just before `on_dead` is called.
    """

    __slots__ = ("__weakref__", "_exporter", "_lives", "_mm", "_offset", "_on_dead",
                 "_serial", "memory", "parsed", "size")  # fmt: skip

    def __init__(
        self,
        mm: mmap.mmap,
        offset: int,
        size: int,
        on_dead: Callable[[], object] | None,
        lives: dict[int, Any],
    ):
        self.size = size
        #: The object's bytes, read-only. Not tracked: for reading while the view is open.
        self.memory: memoryview | None = memoryview(mm)[offset : offset + size].toreadonly()
        #: For `serialization`: what it learned from the bytes.
        self.parsed: Any = None
        self._mm: mmap.mmap | None = mm
        self._offset = offset
        self._on_dead = on_dead
        self._exporter: Any = None
        self._lives = lives
        self._serial = next(_serial)
        lives[self._serial] = None

    @property
    def alive(self) -> bool:
        """Whether the view is open or anything that was made from it still lives."""
        return self._serial in self._lives

    def buffer(self, start: int = 0, stop: int | None = None) -> memoryview:
        """A read-only buffer whose users, and theirs, keep the object's bytes in place.

        Raises
        ------
        ValueError
            If the view is closed.
        """
        exporter = self._exporter
        if exporter is None:
            exporter = self._export()
        return memoryview(exporter)[start:stop]

    def _export(self) -> Any:
        import numpy as np

        mm = self._mm
        if mm is None:
            raise ValueError("the view is closed")
        exporter = np.frombuffer(mm, np.uint8, self.size, self._offset)
        exporter.flags.writeable = False
        life = weakref.ref(exporter, self._death_notice())
        with _making:
            if self._exporter is None and self._mm is not None:
                self._exporter = exporter
                self._lives[self._serial] = life
        del life  # before the exporter, if another thread's is used: nothing has died then
        return self._exporter

    def _death_notice(self) -> Callable[[object], None]:
        serial, pop, on_dead = self._serial, self._lives.pop, self._on_dead

        def died(_: object) -> None:
            pop(serial, None)
            if on_dead is not None:
                on_dead()

        return died

    def close(self) -> None:
        """Let go; `on_dead` is called now if nothing made from it lives, or when that dies."""
        with _making:
            was_open = self._mm is not None
            self._mm = self.memory = self.parsed = None
            exporter, self._exporter = self._exporter, None
        if was_open and exporter is None:
            self._death_notice()(None)

    def __del__(self) -> None:
        if getattr(self, "_mm", None) is not None and self._exporter is None:
            self._mm = None
            self._death_notice()(None)
