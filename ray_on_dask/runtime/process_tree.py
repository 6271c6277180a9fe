"""What the kernel knows about processes: who descends from whom, and who outlives whom.

All of it is read from `/proc`; a process that ends while it is looked at is
simply not there, never an error.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Collection, Iterator

#: In the environment of a zygote and of all that descends from it: its session's directory.
SESSION_VARIABLE = "RAY_ON_DASK_SESSION"
#: In the environment of an executor and of all that it starts: its name.
EXECUTOR_VARIABLE = "RAY_ON_DASK_EXECUTOR"

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_prctl = ctypes.CDLL(None, use_errno=True).prctl


def die_with_parent(signal_number: int, parent: int | None = None) -> None:
    """Have the kernel send `signal_number` to this process when the thread that made it ends.

    Parameters
    ----------
    signal_number : int
        What to send; it stays set over `exec`, and is not handed on to children.
    parent : int, optional
        Its process id; if it is dead by now, this process ends at once.
    """
    _prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
    if parent is not None and os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends ("subreaper")."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def volunteer_for_oom_kill() -> None:
    """Ask the kernel to end this process before any other when memory runs out."""
    with contextlib.suppress(OSError):
        fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        try:
            os.write(fd, b"1000")
        finally:
            os.close(fd)


def children(pid: int) -> list[int]:
    """Process ids of the living and unreaped children of all threads of `pid`."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(ProcessLookupError):
                found += map(int, _read(f"/proc/{pid}/task/{thread}/children").split())
    except FileNotFoundError:  # a kernel without these lists, or no such process
        return [other for other in processes() if parent_of(other) == pid]
    return found


def descendants(pid: int) -> list[int]:
    """Process ids of the children of `pid`, of their children, and so on."""
    found = children(pid)
    for child in found:  # the list grows while it is walked
        found += children(child)
    return found


def processes() -> Iterator[int]:
    """Every process id there is."""
    return (int(entry) for entry in os.listdir("/proc") if entry.isdigit())


def parent_of(pid: int) -> int:
    """Process id of the parent of `pid`, 0 if there is none."""
    try:
        return int(_read(f"/proc/{pid}/stat").rpartition(b")")[2].split()[1])
    except OSError:
        return 0


def session_of(pid: int) -> int:
    """Process id of the leader of the session that `pid` is in, 0 if `pid` is gone."""
    try:
        return os.getsid(pid)
    except OSError:
        return 0


def variable_of(pid: int, name: str) -> str:
    """Value of an environment variable that `pid` was started with, "" if it has none.

    What a process sets for itself later does not show here, only in what it starts.
    """
    try:
        block = _read(f"/proc/{pid}/environ")
    except OSError:
        return ""
    start = name.encode() + b"="
    found = (entry for entry in block.split(b"\0") if entry.startswith(start))
    return os.fsdecode(next(found, b"=").partition(b"=")[2])


def end(pids: Collection[int]) -> None:
    """Send SIGKILL to each of `pids` that is there and that we may signal."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def end_session(session_dir: str, patience: float = 2.0) -> int:
    """End every process that descends from a zygote of the session, which must be dead itself.

    Blocks until none is left, `patience` seconds at most, so never call it on a loop.
    Returns how many there were.
    """
    ended: set[int] = set()
    deadline = time.monotonic() + patience
    while left := [pid for pid in processes() if _is_of(pid, session_dir)]:
        ended.update(left)
        end(left)
        if time.monotonic() > deadline:
            break
        time.sleep(0.01)
    return len(ended)


def _is_of(pid: int, session_dir: str) -> bool:
    return pid != os.getpid() and variable_of(pid, SESSION_VARIABLE) == session_dir


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read()
