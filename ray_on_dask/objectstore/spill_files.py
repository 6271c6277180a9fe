"""Files on disk that take objects for which there is no room in memory.

Large objects have a file each; small ones share files, so that a process that reads many of them
has few mappings. A file is written once, then read through mappings of whoever needs it.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
from collections.abc import Iterable, Sequence

from ray_on_dask.objectstore.free_list import aligned
from ray_on_dask.objectstore.places import OWN_SEGMENT
from ray_on_dask.objectstore.segments import map_for_reading
from ray_on_dask.wire.messages import Located

#: Bytes of small objects that share a file.
SHARED_SIZE = 32 << 20

Object = tuple[bytes, Located]


class SpillFiles:
    """Writes objects to files of a directory of the node's own. For one thread.

    Parameters
    ----------
    directory : str
        It exists, and is for this user alone.
    node : str
        The node's name.
    """

    def __init__(self, directory: str, node: str):
        self.directory = directory
        self.node = node
        self._count = 0

    def write(self, objects: Iterable[Object]) -> list[Object]:
        """Copy objects; where each of them lies then. Those of which the file is gone are left out.

        Raises
        ------
        OSError
            If the disk is full, say; nothing is left of the copies then.
        """
        written: list[Object] = []
        paths: list[str] = []
        try:
            for group in _groups(objects):
                paths.append(self._path())
                written += self._write_file(paths[-1], group)
        except BaseException:
            for path in paths:
                with contextlib.suppress(OSError):
                    os.unlink(path)
            raise
        return written

    def _path(self) -> str:
        self._count += 1
        return os.path.join(self.directory, f"o-{self._count}")

    def _write_file(self, path: str, group: Sequence[Object]) -> list[Object]:
        offsets, end = [], 0
        for _, at in group:
            offsets.append(end)
            end = aligned(end + at.size)
        written: list[Object] = []
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        target = os.open(path, flags, 0o600)
        try:
            # Reserved first: a disk that fills up while pages wait to be written loses them.
            os.posix_fallocate(target, 0, max(end, 1))
            for (id, at), offset in zip(group, offsets, strict=True):
                with contextlib.suppress(FileNotFoundError):
                    _copy(at, target, offset)
                    written.append((id, Located(self.node, path, offset, at.size)))
        finally:
            os.close(target)
        if not written:
            os.unlink(path)
        return written


def _groups(objects: Iterable[Object]) -> list[list[Object]]:
    """Each large object by itself, small ones together."""
    groups: list[list[Object]] = []
    small: list[Object] = []
    size = 0
    for id, at in objects:
        if at.size >= OWN_SEGMENT:
            groups.append([(id, at)])
            continue
        if size + at.size > SHARED_SIZE and small:
            groups.append(small)
            small, size = [], 0
        small.append((id, at))
        size += aligned(at.size)
    return [*groups, small] if small else groups


def _copy(at: Located, target: int, offset: int) -> None:
    """Copy an object to a file, within the kernel where that can be."""
    source = os.open(at.segment, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        if os.fstat(source).st_size < at.offset + at.size:
            raise FileNotFoundError(errno.ENOENT, "cut off", at.segment)
        os.lseek(target, offset, os.SEEK_SET)
        done = 0
        while done < at.size:
            try:
                sent = os.sendfile(target, source, at.offset + done, at.size - done)
            except OSError as error:
                if done or error.errno not in (errno.EINVAL, errno.ENOSYS):
                    raise
                _copy_mapped(at, target, offset)  # hugetlbfs is read through mappings alone
                return
            if not sent:
                raise FileNotFoundError(errno.ENOENT, "cut off", at.segment)
            done += sent
    finally:
        os.close(source)


def _copy_mapped(at: Located, target: int, offset: int) -> None:
    mm: mmap.mmap = map_for_reading(at.segment)
    with memoryview(mm)[at.offset : at.offset + at.size] as rest:
        done = 0
        while done < at.size:
            done += os.pwrite(target, rest[done : done + (16 << 20)], offset + done)
    mm.close()
