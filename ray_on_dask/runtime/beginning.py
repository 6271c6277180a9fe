"""What there can be of a node before Dask is imported: its name, its directories, its zygote.

A head imports Dask, the zygote imports NumPy: side by side, the first tasks of a new session
find executors where they would have waited for both in turn.
"""

from __future__ import annotations

from dataclasses import dataclass

from ray_on_dask.config import setting
from ray_on_dask.ids import NodeID
from ray_on_dask.runtime.directories import NodeDirectories
from ray_on_dask.runtime.zygote_launcher import ZygoteStart, ZygoteStarted

#: Modules that the zygote has imported before it forks.
PRELOAD = (
    "ray_on_dask.runtime.executor",
    "ray_on_dask.pickler",
    "ray_on_dask.exceptions",
    "ray_on_dask.error_serialization",
    "ray_on_dask.api",
    "ray_on_dask.runtime.rehearsal",
)


@dataclass(frozen=True)
class Beginning:
    """A node as far as it can be made without its worker."""

    name: str
    directories: NodeDirectories
    #: None where the node starts it when it is up itself.
    zygote: ZygoteStarted | None = None

    @classmethod
    def make(
        cls, temp_dir: str | None, plasma_directory: str | None, early: bool = False
    ) -> Beginning:
        """Choose a name, make and lock the directories; if `early`, start the zygote too.

        Raises what `NodeDirectories.create` does.
        """
        name = NodeID.from_random().hex()
        temp_dir = temp_dir or setting("temp-dir")
        directories = NodeDirectories.create(temp_dir, plasma_directory, name[:16])
        start = zygote_start(directories)
        return cls(name, directories, start.launched() if early else None)


def zygote_start(directories: NodeDirectories) -> ZygoteStart:
    """How to start the zygote of the node that has these directories."""
    return ZygoteStart(directories.session_dir, directories.shm_dir, PRELOAD, directories.locks)
