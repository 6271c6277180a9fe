"""Who has to go before memory runs out: the newest task that can be run again.

Memory is watched where it is used: the host's, or the control group's if that is
nearer to its limit, shared memory included. Which executor is ended is decided by
`pick_victim` alone, from numbers.
"""

from __future__ import annotations

import resource
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ray_on_dask.runtime import process_tree

#: Share of the limit at which an executor is ended.
THRESHOLD = 0.95
#: Executors below this share of the largest one's memory are spared: ending them is no help.
WORTHWHILE = 0.1


@dataclass(frozen=True)
class Candidate:
    """An executor that may be ended."""

    name: str
    pid: int
    #: When its task or actor began; any clock that all candidates share.
    since: float
    #: Whether what it runs can be run again.
    retriable: bool
    #: Bytes that its end would free, 0 if unknown.
    memory: int = 0


@dataclass(frozen=True)
class Usage:
    """Bytes in use, and bytes that may be in use."""

    used: int
    limit: int

    @property
    def free(self) -> int:
        """Bytes that are left."""
        return self.limit - self.used


def pick_victim(
    executors: Iterable[Candidate], used: int, limit: int, threshold: float = THRESHOLD
) -> str | None:
    """Name of the executor to end, None while less than `threshold` of `limit` is used.

    Those whose work can be run again go first, then the newest; among these, one
    that holds next to nothing beside the largest is passed over.
    """
    candidates = list(executors)
    if used < threshold * limit or not candidates:
        return None
    pool = [one for one in candidates if one.retriable] or candidates
    largest = max(one.memory for one in pool)
    return max(
        (one for one in pool if one.memory >= WORTHWHILE * largest), key=lambda one: one.since
    ).name


class MemoryMonitor:
    """Samples memory and names at most one victim at a time.

    Parameters
    ----------
    threshold : float
        Share of the limit that may be used.
    """

    def __init__(self, threshold: float = THRESHOLD) -> None:
        self.threshold = threshold
        self._victim = 0

    def victim(self, executors: Iterable[Candidate]) -> Candidate | None:
        """The executor to end now, its `memory` measured; None while there is no pressure.

        Takes 0.1 ms without pressure. After it has named one, it names none until
        that process is gone, for its memory comes back only then.
        """
        usage = memory_usage()
        if usage.used < self.threshold * usage.limit or Path(f"/proc/{self._victim}/stat").exists():
            return None
        measured = {one.name: replace(one, memory=memory_of(one.pid)) for one in executors}
        name = pick_victim(measured.values(), usage.used, usage.limit, self.threshold)
        if name is None:
            return None
        self._victim = measured[name].pid
        return measured[name]


def memory_of(pid: int) -> int:
    """Bytes of private memory of a process and of all that it started, shared memory left out.

    Pages still shared with the zygote after the fork are counted too (some 30 MB).
    """
    return sum(map(_private_memory, [pid, *process_tree.descendants(pid)]))


def memory_usage() -> Usage:
    """Of the host and the control groups we are in, the one with the least left."""
    return min([_host_usage(), *_cgroup_usages()], key=lambda usage: usage.free)


def _private_memory(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:
        return 0
    return (int(fields[1]) - int(fields[2])) * resource.getpagesize()


def _host_usage() -> Usage:
    lines = Path("/proc/meminfo").read_text().splitlines()
    kilobytes = dict(line.split()[:2] for line in lines)
    total, available = int(kilobytes["MemTotal:"]) * 1024, int(kilobytes["MemAvailable:"]) * 1024
    return Usage(total - available, total)


def _cgroup_usages(
    membership: str = "/proc/self/cgroup", mount: str = "/sys/fs/cgroup"
) -> Iterator[Usage]:
    """Usage under each memory limit that control groups, version 1 or 2, set on us."""
    try:
        lines = Path(membership).read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            yield from _limits(Path(mount), path, "memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            yield from _limits(
                Path(mount, "memory"), path, "memory.limit_in_bytes", "memory.usage_in_bytes",
                "total_inactive_file",
            )  # fmt: skip


def _limits(mount: Path, path: str, limit: str, current: str, cache: str) -> Iterator[Usage]:
    group = mount / path.lstrip("/")
    for directory in (group, *group.parents):
        usage = _usage_of(directory, limit, current, cache)
        if usage is not None:
            yield usage
        if directory == mount:
            return


def _usage_of(directory: Path, limit: str, current: str, cache: str) -> Usage | None:
    """What a control group uses without the file cache that it can drop; None without a limit."""
    try:
        allowed = int((directory / limit).read_text())
        used = int((directory / current).read_text())
        statistics = (directory / "memory.stat").read_text().splitlines()
    except (OSError, ValueError):  # no such group, or "max"
        return None
    droppable = dict(line.split() for line in statistics).get(cache, "0")
    return Usage(used - int(droppable), allowed)
