"""The latest lines that executors have printed, for those who ask later: bounded in all ways."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Any

from ray_on_dask.wire.messages import LogLines

#: Lines kept of one process, bytes of one line, and bytes kept of all processes.
LINES_MAX, LINE_MAX, BYTES_MAX = 2_000, 4_000, 16 << 20

#: Node and pid.
Key = tuple[str, int]


@dataclass(slots=True)
class Tail:
    """What one process has printed lately."""

    job: int = 0
    #: (name of the task or actor, line, whether it went to stderr).
    lines: deque[tuple[str, str, bool]] = field(default_factory=deque)
    #: How many lines there were before those.
    dropped: int = 0
    bytes: int = 0


class LogTails:
    """Keeps the tails; those of the process that has been silent for longest go first."""

    def __init__(self) -> None:
        self.tails: OrderedDict[Key, Tail] = OrderedDict()
        self.bytes = 0

    def take(self, node: str, message: LogLines) -> None:
        """A process at a node has printed something."""
        key = (node, message.pid)
        tail = self.tails.setdefault(key, Tail())
        self.tails.move_to_end(key)
        tail.job = message.job or tail.job
        for line in message.lines:
            kept = line[:LINE_MAX]
            tail.lines.append((message.name, kept, message.is_error))
            self._count(tail, len(kept) + 100)
            if len(tail.lines) > LINES_MAX:
                self._drop(tail)
        while self.bytes > BYTES_MAX:
            oldest, silent = next(iter(self.tails.items()))
            if silent.lines:
                self._drop(silent)
            else:
                del self.tails[oldest]

    def _count(self, tail: Tail, size: int) -> None:
        tail.bytes += size
        self.bytes += size

    def _drop(self, tail: Tail) -> None:
        _, line, _ = tail.lines.popleft()
        tail.dropped += 1
        self._count(tail, -len(line) - 100)

    def listed(self) -> list[dict[str, Any]]:
        """Which processes have printed anything."""
        return [
            {
                "node": node, "pid": pid, "job": tail.job, "lines": len(tail.lines),
                "out": any(not error for _, _, error in tail.lines),
                "err": any(error for _, _, error in tail.lines),
            }
            for (node, pid), tail in self.tails.items()
        ]  # fmt: skip

    def read(self, node: str, pid: int, after: int = 0) -> dict[str, Any]:
        """Lines of a process from number `after` on, and the number of the next one.

        ``{"next": int, "lines": [[name, line, is_error], …]}``; `KeyError` if it is unknown.
        """
        tail = self.tails.get((node, pid))
        if tail is None:
            raise KeyError(f"nothing is known that process {pid} of node {node[:16]} has printed")
        skip = max(0, after - tail.dropped)
        lines = [list(line) for line in tail.lines][skip:]
        return {"next": tail.dropped + len(tail.lines), "lines": lines}

    def validate(self) -> None:
        """Assert that the bytes counted are those that are there."""
        for tail in self.tails.values():
            assert tail.bytes == sum(len(line) + 100 for _, line, _ in tail.lines)
        assert self.bytes == sum(tail.bytes for tail in self.tails.values())
