"""The processes of a cluster that this process started, and the memory they take.

They are told from others on the machine by kinship (a child, or in the session of one) or by a
mark in the environment they inherited; so a process that has cut itself loose is found as well.
Reads ``/proc``: Linux only.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
import uuid
from collections.abc import Iterable
from pathlib import Path

#: The environment variable that marks all processes started for one run.
MARK = "BENCHMARK_SESSION"


def new_mark() -> str:
    """Give a mark that no other run has."""
    return uuid.uuid4().hex


def all_pids() -> set[int]:
    """Give the ids of all processes on the machine."""
    return {int(entry) for entry in os.listdir("/proc") if entry.isdigit()}


def family(root: int, mark: str | None, before: Iterable[int] = ()) -> set[int]:
    """Give the processes that descend from `root` or carry `mark`, `root` itself left out.

    Parameters
    ----------
    before
        Processes that were there already, and do not count.
    """
    candidates = all_pids() - set(before) - {root}
    found = {pid for pid in candidates if mark and _carries(pid, mark)}
    kin = {pid: _parent_and_session(pid) for pid in candidates}
    while True:
        known = found | {root}
        more = {pid for pid, of in kin.items() if pid not in found and known.intersection(of)}
        if not more:
            return found
        found |= more


def pss(pids: Iterable[int]) -> int:
    """Give the memory of `pids` in bytes: private pages, and each shared page in proportion."""
    return sum(_pss_of(pid) for pid in pids)


def unique_bytes(pid: int) -> int:
    """Give the bytes that only process `pid` has mapped."""
    fields = ("Private_Clean:", "Private_Dirty:")
    return sum(_rollup(pid, field) for field in fields)


def settled_family(before: set[int], quiet: float = 2.0, limit: float = 20.0) -> set[int]:
    """Give this process's cluster once no process has come or gone for `quiet` seconds.

    After `limit` seconds it is given as it is.
    """
    mark = os.environ.get(MARK)
    end = time.monotonic() + limit
    known, since = family(os.getpid(), mark, before), time.monotonic()
    while time.monotonic() < end and time.monotonic() - since < quiet:
        time.sleep(0.2)
        now = family(os.getpid(), mark, before)
        if now != known:
            known, since = now, time.monotonic()
    return known


def end(root: int, mark: str, grace: float = 0.0) -> int:
    """Kill the family of `root` that is left after `grace` seconds; give how many that were.

    `root` itself is not touched: its parent knows whether the id is still its own.
    """
    deadline = time.monotonic() + grace
    while (left := family(root, mark)) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return len(left)


def _carries(pid: int, mark: str) -> bool:
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return f"{MARK}={mark}".encode() in environment.split(b"\0")


def _parent_and_session(pid: int) -> tuple[int, int]:
    """Give the parent and the session of `pid`, or zeros if it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return (0, 0)
    fields = stat.rpartition(")")[2].split()
    return (int(fields[1]), int(fields[3]))


def _pss_of(pid: int) -> int:
    return _rollup(pid, "Pss:")


def _rollup(pid: int, field: str) -> int:
    """Give one field of the memory summary of `pid` in bytes; 0 if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith(field))
