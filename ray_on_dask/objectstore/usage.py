"""How many bytes the processes of a node hold in the store: one small shared file.

Each process writes a slot of its own, so counting costs no lock: a slot is
claimed under `flock`, then stored to with single aligned 8-byte writes. Only
who finds the store full takes the lock again, to be sure.

The file is an array of 64-bit words: in the first 64 bytes the number of slots
ever claimed and whether the store is under pressure (objects may move to disk);
then 4 words a slot: pid (0: no one's), bytes used, bytes warm, bytes of others'
files that are mapped.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
from collections.abc import Iterator

from ray_on_dask.objectstore.segments import block_size, map_file

_FILE = "usage"
_HEADER = 8
_PRESSURE = 1
_WORDS = 4
_SLOTS = 4096


class UsageFile:
    """The file, open and mapped.

    Parameters
    ----------
    directory : str
        The store's directory; the file is made if it is not there.
    """

    def __init__(self, directory: str):
        block = block_size(directory)
        size = -(-(8 * (_HEADER + _WORDS * _SLOTS)) // block) * block
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = os.open(os.path.join(directory, _FILE), flags, 0o600)
        os.ftruncate(self._file, size)
        self._mm = map_file(self._file, size, mmap.PROT_READ | mmap.PROT_WRITE)
        self.words = memoryview(self._mm).cast("Q")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep others from claiming slots, and from deciding that the store is full."""
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def total(self, column: int) -> int:
        """Sum over all slots of their word number `column`."""
        end = _HEADER + _WORDS * self.words[0]
        return sum(self.words[_HEADER + column : end : _WORDS])

    def slots(self) -> Iterator[int]:
        """Where each slot begins that was ever claimed."""
        return iter(range(_HEADER, _HEADER + _WORDS * self.words[0], _WORDS))

    def claim(self, pid: int) -> int:
        """A slot for `pid`: its first word. `OSError` if there are thousands already."""
        with self.locked():
            for slot in self.slots():
                if not self.words[slot]:
                    self.words[slot : slot + _WORDS] = memoryview(
                        pid.to_bytes(8, "little") + bytes(24)
                    ).cast("Q")
                    return slot
            if self.words[0] == _SLOTS:
                raise OSError(f"more than {_SLOTS} processes use one object store")
            slot = _HEADER + _WORDS * self.words[0]
            self.words[slot] = pid
            self.words[0] += 1
            return slot

    def close(self) -> None:
        """Unmap and close it."""
        if self._file >= 0:
            self.words.release()
            self._mm.close()
            os.close(self._file)
            self._file = -1


class UsageSlot:
    """This process's entry in the count.

    Parameters
    ----------
    directory : str
        The store's directory.
    capacity : int
        Bytes that all processes together may use.
    """

    def __init__(self, directory: str, capacity: int):
        self.capacity = capacity
        self._file = UsageFile(directory)
        self._slot = self._file.claim(os.getpid())

    @property
    def used(self) -> int:
        """Bytes that this process's objects take."""
        return self._file.words[self._slot + 1]

    def total(self) -> int:
        """Bytes that the objects of all processes take."""
        return self._file.total(1)

    def total_warm(self) -> int:
        """Bytes that all processes keep, free, for their next object."""
        return self._file.total(2)

    @property
    def warm(self) -> int:
        """Free bytes that this process keeps."""
        return self._file.words[self._slot + 2]

    def set_warm(self, size: int) -> None:
        """Say how many free bytes this process keeps."""
        self._file.words[self._slot + 2] = size

    @property
    def pressed(self) -> bool:
        """Whether objects may move to disk, so that none is mapped without the node's leave."""
        return bool(self._file.words[_PRESSURE])

    def set_pressed(self, pressed: bool) -> None:
        """Say so: for the node alone."""
        self._file.words[_PRESSURE] = int(pressed)

    def set_mapped(self, size: int) -> None:
        """Say how many bytes of others' files this process has mapped."""
        self._file.words[self._slot + 3] = size

    def add(self, size: int) -> None:
        """Count `size` bytes more, or fewer if negative, whatever the capacity."""
        self._file.words[self._slot + 1] += size

    def charge(self, size: int) -> bool:
        """Count `size` bytes more if they are left; whether they were."""
        self.add(size)
        if self._file.total(1) <= self.capacity:
            return True
        self.add(-size)
        with self._file.locked():  # two that asked at once may both have seen too much
            fits = self._file.total(1) + size <= self.capacity
            if fits:
                self.add(size)
            return fits

    def close(self, release: bool) -> None:
        """Let go of the file; `release` gives the slot back, as its bytes are gone."""
        if release:
            words = self._file.words
            for word in (3, 2, 1, 0):
                words[self._slot + word] = 0
        self._file.close()


def usage(directory: str) -> dict[int, int]:
    """{pid: bytes its objects take} of all processes that use the store in `directory`."""
    return _sums(directory, 1)


def warm_usage(directory: str) -> dict[int, int]:
    """{pid: free bytes it keeps for its next object}."""
    return _sums(directory, 2)


def mapped_usage(directory: str) -> dict[int, int]:
    """{pid: bytes of others' files that it has mapped}."""
    return _sums(directory, 3)


def _sums(directory: str, column: int) -> dict[int, int]:
    file = UsageFile(directory)
    sums: dict[int, int] = {}
    for slot in file.slots():
        pid = file.words[slot]
        if pid:
            sums[pid] = sums.get(pid, 0) + file.words[slot + column]
    file.close()
    return sums


def clear_usage(directory: str, pid: int, left: int = 0) -> None:
    """Count nothing for `pid` any more, which is dead, but `left` bytes of objects of its."""
    file = UsageFile(directory)
    with file.locked():
        for slot in file.slots():
            if file.words[slot] == pid:
                file.words[slot + 1], left = left, 0
                file.words[slot + 2] = file.words[slot + 3] = 0
                if not file.words[slot + 1]:
                    file.words[slot] = 0
    file.close()
