"""What a node measures of itself for people: its executors' memory and work, its store.

It travels with the Dask worker's heartbeat. A look at a process costs some tens of microseconds on
the node's loop, so each time only some are looked at anew, those last seen longest ago first.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ray_on_dask.plugins.node_room import figures_of
from ray_on_dask.runtime.status_page import StatusPage

if TYPE_CHECKING:
    from ray_on_dask.plugins.node import NodeManager

#: Processes looked at each time, and processes told of.
LOOKS, TOLD = 48, 500
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Figures:
    """Measures one node."""

    def __init__(self, node: NodeManager):
        self.node = node
        #: {executor: (pid, resident bytes, what its main thread runs, that task's id)}, latest
        #: look last.
        self._seen: dict[str, tuple[int, int, str, str]] = {}

    def measure(self) -> dict[str, Any]:
        """``{"executors": {name: [pid, bytes, running, task]}, "store": {…}}``; never raises."""
        try:
            self._look()
            return {
                "executors": {name: list(seen) for name, seen in self._seen.items()},
                "store": figures_of(self.node),
            }
        except Exception as error:  # figures are for people: without them the node works on
            return {"error": repr(error)}

    def _look(self) -> None:
        executors = self.node.pool.executors
        for name in [name for name in self._seen if name not in executors]:
            del self._seen[name]
        known = [executors[name] for name in list(self._seen)[:LOOKS]]
        room = TOLD - len(self._seen)
        fresh = [x for x in executors.values() if x.pid and x.name not in self._seen][:room]
        for record in [*fresh[:LOOKS], *known][:LOOKS]:
            self._seen.pop(record.name, None)
            task = StatusPage.read(os.path.join(self.node.directories.shm_dir, f"p-{record.name}"))
            title = _title(record.pid) if task else ""
            self._seen[record.name] = (record.pid, _resident(record.pid), title, task.hex())


def _resident(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm", "rb", buffering=0) as file:
            return int(file.read(100).split()[1]) * _PAGE
    except (OSError, IndexError, ValueError):
        return 0


def _title(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb", buffering=0) as file:
            title = file.read(200).rstrip(b"\0").decode(errors="replace")
    except OSError:
        return ""
    return title.removeprefix("ray::")
