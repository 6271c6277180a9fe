"""The shared-memory store as one process sees it: it writes its own files and reads all."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from ray_on_dask.objectstore.mappings import Mappings
from ray_on_dask.objectstore.places import Places
from ray_on_dask.objectstore.segments import Buffer, Segment, raise_file_limit
from ray_on_dask.objectstore.usage import UsageSlot
from ray_on_dask.objectstore.view import View
from ray_on_dask.objectstore.warm import WARM_SECONDS
from ray_on_dask.wire.messages import Located

#: Free space that may stay warm: a tenth of the capacity, or one large object.
_WARM_SHARE = 10
_WARM_AT_LEAST = 1 << 30
_NO_MEMORY = (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM)


#: See `Store`.
MakeRoom = Callable[[int, bool], Callable[[], None]]


class _NoMemory(Exception):
    """The file system is full."""


class Allocation:
    """Room for one object: `located` says where; write it with `write` or through `buffer`."""

    __slots__ = ("_segment", "located")

    def __init__(self, located: Located, segment: Segment):
        self.located = located
        self._segment = segment

    @property
    def buffer(self) -> memoryview:
        """The bytes, writable."""
        return self._segment.buffer(self.located.offset, self.located.size)

    def write(self, parts: Sequence[Buffer]) -> None:
        """Write flat byte buffers one after the other, in the fastest way there is.

        Parameters
        ----------
        parts : sequence of bytes or memoryview
            Their lengths must add up to the size that was reserved.
        """
        self._segment.write(self.located.offset, parts, self.located.size)

    def write_at(self, start: int, data: Buffer) -> None:
        """Write some bytes, `start` bytes into the object; nothing of it is mapped here."""
        self._segment.write_unmapped(self.located.offset + start, data)


class Store:
    """Shared memory that this process writes, and views of what any process of the node wrote.

    Objects below 8 MB share arenas, larger ones have a file each. All methods may
    be called from any thread, none from a destructor.

    Parameters
    ----------
    directory : str
        Where the files are; it exists, and is for this user alone.
    process : str
        This process's name, never used again: it is part of the files' names.
    node : str
        Name of the node that the directory belongs to.
    capacity : int
        Bytes that all processes of the node may use together.
    make_room : callable, optional
        ``make_room(size, no_memory)`` is called when there is no room for `size` bytes
        (`no_memory`: because the file system is full). It blocks until they are promised to
        this process, and gives what is to be called when they are counted; or it raises why
        there is no room.

    Examples
    --------
    >>> store = Store(directory, "driver-1", "node-1", capacity=1 << 30)  # doctest: +SKIP
    >>> located = store.write([b"some ", b"bytes"], 10)                   # doctest: +SKIP
    >>> bytes(store.open(located).memory)                                 # doctest: +SKIP
    b'some bytes'
    """

    def __init__(
        self,
        directory: str,
        process: str,
        node: str,
        capacity: int,
        make_room: MakeRoom | None = None,
    ):
        raise_file_limit()
        self.directory = os.path.abspath(directory)
        self.process = process
        self.node = node
        self.capacity = capacity
        self.closed = False
        self._make_room = make_room
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._slot = UsageSlot(self.directory, capacity)
        self._places = Places(self.directory, process)
        self._mappings = Mappings()
        #: One entry for each view that is open, or of which something lives.
        self._lives: dict[int, Any] = {}
        #: See `free_soon`.
        self._to_free: deque[Located] = deque()

    # -- writing -----------------------------------------------------------------

    def reserve(self, size: int, at_once: bool = False) -> Allocation:
        """Room for an object of `size` bytes, at an address that is a multiple of 64.

        Parameters
        ----------
        size : int
        at_once : bool
            Never to block: to go beyond the capacity rather, which is for small objects.

        Raises
        ------
        ObjectStoreFullError
            If the node's processes would use more than the capacity, or the file
            system is full, and `make_room` could not help.
        ValueError
            If the store is closed, or another process's from before a fork.
        """
        if self.closed or self._pid != os.getpid():
            raise ValueError("the object store is closed, or was opened before a fork")
        took: Callable[[], None] | None = None
        while True:
            no_memory = False
            try:
                with self._lock:
                    place = self._try_reserve(size, at_once or took is not None)
            except _NoMemory:
                place, no_memory = None, True
            finally:
                if took is not None:
                    took()
                if self._to_free:
                    self._free_waiting()
            if place is not None:
                segment, offset = place
                return Allocation(Located(self.node, segment.path, offset, size), segment)
            room = self._places.room_for(size)
            if self._make_room is None or at_once or room > self.capacity:
                raise self._full(size, no_memory)
            took = self._make_room(room, no_memory)

    def write(self, parts: Sequence[Buffer], size: int, at_once: bool = False) -> Located:
        """Reserve `size` bytes and write `parts` there; `ObjectStoreFullError` as `reserve`."""
        allocation = self.reserve(size, at_once)
        try:
            allocation.write(parts)
        except BaseException:
            self.free(allocation.located)
            raise
        return allocation.located

    def _try_reserve(self, size: int, granted: bool) -> tuple[Segment, int] | None:
        """A place; None if that would be more than the capacity, and is not `granted`."""
        places, slot = self._places, self._slot
        segment = places.take_warm(size)
        if segment is not None:
            if slot.charge(segment.size):
                places.add(segment)
                return segment, 0
            places.restore(segment)
        room = places.room_for(size)
        if granted:
            slot.add(room)
        elif not slot.charge(room):
            return None
        if slot.total() + places.warm > self.capacity:
            places.trim(float("inf"), 0)
        place = self._allocate(room) or self._allocate_under_pressure(room)
        if place is None:
            slot.add(-room)
            raise _NoMemory
        return place

    def _allocate(self, room: int) -> tuple[Segment, int] | None:
        try:
            return self._places.allocate(room)
        except OSError as error:
            if error.errno in _NO_MEMORY:
                return None
            self._slot.add(-room)
            raise

    def _allocate_under_pressure(self, room: int) -> tuple[Segment, int] | None:
        """Give up what is warm, then try again."""
        was = self._places.warm
        self._places.trim(float("inf"), 0)
        return self._allocate(room) if self._places.warm < was else None

    def _full(self, size: int, no_memory: bool) -> Exception:
        from ray_on_dask.exceptions import ObjectStoreFullError

        why = f"{self._slot.total():,} of {self.capacity:,} bytes are used"
        if no_memory:
            why += ", and its file system has no more"
        return ObjectStoreFullError(
            f"no room for an object of {size:,} bytes in {self.directory}: {why}. Let go of refs "
            "and of arrays that came from `get`, or start with a larger `object_store_memory`."
        )

    # -- giving back ---------------------------------------------------------------

    def free(self, located: Located) -> None:
        """Take back the room of an object that nobody can reach or read any more.

        Raises
        ------
        ValueError
            If no object of this process lies there: it was freed before, or is another's.
        """
        with self._lock:
            self._free(located, time.monotonic())

    def _free(self, located: Located, now: float) -> None:
        if self.closed:
            return
        size = self._places.free(located, now)
        self._slot.add(-size)
        if size >= 1 << 20:
            self._trim(now)

    def free_soon(self, located: Located) -> None:
        """Likewise, for who must not wait for a thread that has just memory reserved."""
        self._to_free.append(located)
        self._free_waiting()

    def _free_waiting(self) -> None:
        """Free what waits for it, unless a thread has the lock, which then does so itself."""
        while self._to_free and self._lock.acquire(blocking=False):
            try:
                while self._to_free:
                    self._free(self._to_free.popleft(), time.monotonic())
            finally:
                self._lock.release()

    def free_urgently(self, places: Sequence[Located]) -> None:
        """Likewise, and give the memory back to the system: others wait for it."""
        for located in places:
            self.free(located)
        with self._lock:
            if not self.closed:
                self._places.trim(float("inf"), 0)
                self._slot.set_warm(self._places.warm)

    def trim(self, now: float | None = None) -> None:
        """Give back what has been free, and unmap what has been unread, for a second.

        Call it every half second or so.

        Parameters
        ----------
        now : float, optional
            Seconds, as of `time.monotonic`.
        """
        now = time.monotonic() if now is None else now
        with self._lock:
            if self.closed:
                return
            self._trim(now)
        self._free_waiting()
        self._mappings.trim(now)
        with self._lock:
            if not self.closed:
                self._slot.set_mapped(self._mappings.size)

    def _trim(self, now: float) -> None:
        share = max(self.capacity // _WARM_SHARE, min(_WARM_AT_LEAST, self.capacity // 4))
        others = self._slot.total_warm() - self._slot.warm
        limit = max(0, min(share - others, self.capacity - self._slot.total()))
        self._places.trim(now - WARM_SECONDS, limit)
        self._slot.set_warm(self._places.warm)

    # -- reading -------------------------------------------------------------------

    def open(self, located: Located, on_dead: Callable[[], object] | None = None) -> View:
        """A view of an object of this node, whoever wrote it.

        Parameters
        ----------
        located : Located
            Where it lies. The caller knows that it is not freed meanwhile.
        on_dead : callable, optional
            See `View`.

        Raises
        ------
        FileNotFoundError
            If its file is gone.
        ValueError
            If its file is shorter than that.
        """
        own = self._places.find(located.segment)
        mm = self._mappings.get(located.segment) if own is None else own.mm
        end = located.offset + located.size
        if end > len(mm) or end > os.stat(located.segment).st_size:
            # A read past the end of a file that was cut off would be a SIGBUS.
            raise ValueError(f"{located.segment} is shorter than its objects")
        if own is None and not located.segment.startswith(self.directory):
            start = located.offset & -mmap.PAGESIZE
            mm.madvise(mmap.MADV_WILLNEED, start, end - start)  # it comes from a disk
        return View(mm, located.offset, located.size, on_dead, self._lives)

    @property
    def pressed(self) -> bool:
        """Whether objects may move to disk: the node must be asked before one is mapped."""
        return self._slot.pressed

    @property
    def live_views(self) -> int:
        """Views that are open, or of which something lives."""
        return len(self._lives)

    # -- the whole -------------------------------------------------------------------

    @property
    def used(self) -> int:
        """Bytes that the objects take which this process wrote."""
        return self._places.used

    @property
    def warm(self) -> int:
        """Free bytes that this process keeps for its next objects."""
        return self._places.warm

    def total_used(self) -> int:
        """Bytes that the objects of all processes of the node take."""
        return self._slot.total()

    def close(self, unlink: bool = False) -> None:
        """Let go of all files; views stay readable for as long as they live.

        Parameters
        ----------
        unlink : bool
            Whether to remove the files with this process's objects too. If not,
            they go on counting as used, until `clear_usage`.
        """
        with self._lock:
            if self.closed:
                return
            self.closed = True
            if self._pid == os.getpid():
                left = self._places.used and not unlink
                self._places.close(unlink)
                self._slot.set_warm(0)
                self._slot.close(release=not left)
            else:
                self._places.abandon()
                self._slot.close(release=False)
        self._mappings.close()

    def validate(self) -> None:
        """Assert that what is counted is what is there."""
        with self._lock:
            self._places.validate()
            assert self._slot.used == self._places.used


def remove_files(directory: str, process: str) -> None:
    """Remove all files of a process that is dead and whose objects nobody needs."""
    with os.scandir(directory) as entries:
        names = [entry.name for entry in entries]
    for name in names:
        kind, _, rest = name.partition("-")
        if kind in ("a", "s") and rest.rpartition("-")[0] == process:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(directory, name))
