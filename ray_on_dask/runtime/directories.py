"""Where a node keeps its files, and how those of dead nodes are found and removed.

A node has two directories of its own: one for sockets and logs on disk, one for
shared memory. Each holds a `lock` file that the node and its zygote keep locked
(`flock`), so the lock is free exactly when both are dead; no process id is
written down that another process could have by the time it is read.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import stat
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ray_on_dask.runtime import process_tree

#: Longest path of a session directory: leaves 27 characters for a socket's name in it.
LONGEST_PATH = 80
#: Seconds that a directory without a locked lock may be about to get one.
GRACE = 5.0

_SHARED_MEMORY = "/dev/shm"
_LOCK = "lock"
_SPILL = "spill"


@dataclass(frozen=True)
class NodeDirectories:
    """The two directories of a node, private to its user, locked as long as it lives.

    Make it with `create`.
    """

    #: For sockets and logs.
    session_dir: str
    #: For memory-mapped files; beside `session_dir` where there is no shared memory.
    shm_dir: str
    #: Descriptors that hold the locks, for the zygote to inherit.
    locks: tuple[int, ...]

    @classmethod
    def create(cls, base: str | None, plasma_directory: str | None, name: str) -> NodeDirectories:
        """Make and lock both directories.

        Parameters
        ----------
        base : str, optional
            Parent of the session directories, instead of the system's one for temporary files.
        plasma_directory : str, optional
            Parent of the shared-memory directories, instead of `/dev/shm`.
        name : str
            The node's name, never used before.

        Raises
        ------
        PermissionError
            When the parent is another user's, or others may write to it.
        ValueError
            When `base` is so long that Unix sockets could not be bound there.
        FileExistsError
            When there is a node of that name.
        """
        session_dir = _session_root(base, name) / name
        shm_dir = _shared_root(base, plasma_directory) / f"{name}-shm"
        locks: list[int] = []
        try:
            for directory in (session_dir, shm_dir):
                locks.append(_make(directory))
        except OSError:
            _release(locks)
            raise
        return cls(str(session_dir), str(shm_dir), tuple(locks))

    def remove(self) -> None:
        """Remove both and let go of the locks; nothing happens the second time."""
        for directory in (self.session_dir, self.shm_dir):
            remove_directory(directory)
        _release(self.locks)
        object.__setattr__(self, "locks", ())

    def make_spill_directory(self, base: str) -> tuple[str, int]:
        """A directory on disk for objects without room in memory, and what holds its lock.

        The session's directory gets a link to it, so that it goes with that one, whoever removes
        it; should that be gone first, the lock tells `sweep` that nobody needs it.

        Parameters
        ----------
        base : str
            Where to make it: in a directory of this user's there, made if need be.
        """
        directory = _private(_root(Path(base))) / f"{Path(self.session_dir).name}-spill"
        lock = _make(directory)
        os.symlink(directory, os.path.join(self.session_dir, _SPILL))
        return str(directory), lock


def remove_directory(directory: str | os.PathLike[str]) -> None:
    """Remove a node's directory, the one for spilled objects that it has a link to, and the
    user's directory around each of them if that is empty then.
    """
    for path in (*_spill_directory(directory), Path(directory)):
        shutil.rmtree(path, ignore_errors=True)
        if path.parent.name == _root(path).name:
            with contextlib.suppress(OSError):  # others have theirs there
                os.rmdir(path.parent)


def _spill_directory(directory: str | os.PathLike[str]) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        path = Path(os.readlink(Path(directory) / _SPILL))
        if path.name == f"{Path(directory).name}-spill" and _is_ours(path):
            yield path


def sweep(
    base: str | None = None,
    plasma_directory: str | None = None,
    grace: float = GRACE,
    spill: str | None = None,
) -> list[str]:
    """Remove the directories of dead nodes, and end what is left of their processes.

    Touches nothing of a living one, nor of other users. Blocks on disk.

    Parameters
    ----------
    base, plasma_directory : str, optional
        As they were for `NodeDirectories.create`.
    grace : float
        Seconds that a directory must be old; younger ones may be about to be locked.
    spill : str, optional
        Parent of directories for spilled objects.

    Returns
    -------
    list of str
        The directories that were removed.
    """
    parents = [*_parents(base, plasma_directory), *([Path(spill)] if spill else [])]
    roots = {_root(parent) for parent in parents}
    removed = []
    for root in sorted(roots):
        for directory in _dead(root, grace):
            process_tree.end_session(str(directory))
            remove_directory(directory)
            removed.append(str(directory))
    return removed


def session_roots(base: str | None = None) -> list[Path]:
    """Where the session directories of this user's nodes are, whether or not there are any."""
    parents = {Path(base or tempfile.gettempdir()), *([] if base else [Path("/tmp")])}
    return [root for root in map(_root, parents) if _is_ours(root)]


def host_id() -> str:
    """The same text in two processes exactly if they can map each other's shared memory.

    They can if they run under one boot of one kernel, see the same file system at
    `/dev/shm` (two containers do not), and belong to one user.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}-{os.stat(_SHARED_MEMORY).st_dev:x}-{os.geteuid()}"
    except OSError:
        return f"{socket.gethostname()}-{os.geteuid()}"


def _is_ours(root: Path) -> bool:
    try:
        found = root.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()


def _parents(base: str | None, plasma_directory: str | None) -> Iterator[Path]:
    yield Path(base or tempfile.gettempdir())
    yield Path(plasma_directory or _SHARED_MEMORY)
    if base is None:
        yield Path("/tmp")


def _root(parent: Path) -> Path:
    return parent.absolute() / f"ray_on_dask-{os.geteuid()}"


def _session_root(base: str | None, name: str) -> Path:
    """A root that is short enough for sockets; only the system's own choice is overridden."""
    for parent in (base or tempfile.gettempdir(), base or "/tmp"):
        root = _root(Path(parent))
        if len(str(root / name)) < LONGEST_PATH:
            return _private(root)
    raise ValueError(
        f"{root / name} is too long for Unix sockets: give a directory for temporary files "
        f"with at most {LONGEST_PATH - len(str(root / name)) + len(parent) - 1} characters"
    )


def _shared_root(base: str | None, plasma_directory: str | None) -> Path:
    if plasma_directory is None and not os.access(_SHARED_MEMORY, os.W_OK | os.X_OK):
        plasma_directory = base or tempfile.gettempdir()
    return _private(_root(Path(plasma_directory or _SHARED_MEMORY)))


def _private(root: Path) -> Path:
    """Make `root` if it is not there; see that it is ours alone."""
    while True:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # the last of its nodes has taken it along
            found = root.lstat()
            break
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise PermissionError(
            f"{root} is not a directory of user {os.geteuid()}: remove it, or choose another parent"
        )
    if found.st_mode & 0o022:
        raise PermissionError(f"{root} may be written by others: run chmod 700 on it")
    return root


def _make(directory: Path) -> int:
    """Make `directory` and give a descriptor that holds its lock."""
    while True:
        with contextlib.suppress(FileNotFoundError):  # as in `_private`
            directory.mkdir(mode=0o700)
            break
        _private(directory.parent)
    fd = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return fd


def _release(locks: list[int] | tuple[int, ...]) -> None:
    for fd in locks:
        os.close(fd)


def _dead(root: Path, grace: float) -> Iterator[Path]:
    try:
        _private(root) if root.exists() else None
        candidates = [entry for entry in root.iterdir() if entry.is_dir()]
    except OSError:
        return
    for directory in candidates:
        if _is_dead(directory, grace):
            yield directory


def _is_dead(directory: Path, grace: float) -> bool:
    try:
        if abs(time.time() - directory.stat().st_ctime) < grace:
            return False
        fd = os.open(directory / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return directory.exists()  # its maker died between the two
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False
    finally:
        os.close(fd)
