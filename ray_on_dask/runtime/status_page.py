"""A few bytes that say what an executor's main thread runs, and outlive the executor.

The executor maps a small file and stores the id of its task with one assignment
whenever it starts one; no system call, no lock. After a death the node reads the
file, and so knows which of the tasks aboard has to be charged.
"""

from __future__ import annotations

import mmap
import os
import struct

from ray_on_dask.ids import TASK_ID_SIZE

#: Bytes in the file: the running task's id, or zeros, and the number of starts.
SIZE = 64

_NOTHING = bytes(TASK_ID_SIZE)
_COUNTED = TASK_ID_SIZE + 8
_count = struct.Struct("<Q").pack


class StatusPage:
    """The executor's side: set `running` to a task's id, or to b"" between tasks."""

    __slots__ = ("_page", "_started")

    def __init__(self, page: mmap.mmap) -> None:
        self._page = page
        self._started = 0

    @classmethod
    def create(cls, path: str) -> StatusPage:
        """Make the file, private to its user, and map it; FileExistsError if it is there.

        Its file system must be able to map 64 bytes, which hugetlbfs is not.
        """
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, SIZE)
            return cls(mmap.mmap(fd, SIZE))
        finally:
            os.close(fd)

    @property
    def running(self) -> bytes:
        """Id of the task that runs, b"" if none does."""
        task = self._page[:TASK_ID_SIZE]
        return b"" if task == _NOTHING else task

    @running.setter
    def running(self, task: bytes) -> None:
        if task:
            self._started = started = self._started + 1
            self._page[:_COUNTED] = task + _count(started)
        else:
            self._page[:TASK_ID_SIZE] = _NOTHING

    @staticmethod
    def read(path: str) -> bytes:
        """Id of the task that runs, or ran when the executor died; b"" if none or no file."""
        task = _read(path)[:TASK_ID_SIZE]
        return task if task.strip(b"\0") else b""

    @staticmethod
    def started(path: str) -> int:
        """How many tasks the executor has started, 0 if there is no file."""
        return int.from_bytes(_read(path)[TASK_ID_SIZE:_COUNTED], "little")

    def close(self) -> None:
        """Unmap the file, which stays for the node to read."""
        self._page.close()


def _read(path: str) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(SIZE)
    except FileNotFoundError:
        return b""
