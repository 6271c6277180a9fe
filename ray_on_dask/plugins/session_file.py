"""How a driver finds a node of its user on its host: each node says where it is in a file.

The file lies in the node's own session directory, so it goes when the node goes, however that
ends; whether the node lives is told by its hub, which answers or does not.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from dataclasses import asdict, dataclass
from pathlib import Path

from ray_on_dask.config import setting
from ray_on_dask.runtime.directories import session_roots

NAME = "cluster.json"


@dataclass(frozen=True)
class SessionFile:
    """Where a node is, and what cluster it belongs to."""

    scheduler: str
    hub: str
    #: The cluster's Redis server with its password, "" where this node does not know it.
    redis: str = ""
    #: Started by the command line, and ended by it.
    detached: bool = False

    def write(self, session_dir: str) -> None:
        """Let drivers of this user find the node."""
        path = os.path.join(session_dir, NAME)
        draft = f"{path}.new"
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(asdict(self), file)
        os.replace(draft, path)

    @property
    def alive(self) -> bool:
        """Whether the node takes drivers."""
        return self.pid != 0

    @property
    def pid(self) -> int:
        """The node's process, as the kernel knows it; 0 if it does not listen."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(1.0)
            try:
                sock.connect(self.hub)
            except OSError:
                return 0
            credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return int(struct.unpack("3i", credentials)[0])


def session_files(temp_dir: str | None = None) -> list[SessionFile]:
    """Nodes of this user on this host, the latest first; those of dead nodes may be among them.

    Parameters
    ----------
    temp_dir : str, optional
        Where to look, by default where sessions lie by default.
    """
    found = []
    for root in session_roots(temp_dir or setting("temp-dir")):
        for path in root.glob(f"*/{NAME}"):
            try:
                found.append((path.stat().st_mtime, _read(path)))
            except (OSError, ValueError, TypeError):
                continue  # it went just now
    return [file for _, file in sorted(found, key=lambda item: item[0], reverse=True)]


def _read(path: Path) -> SessionFile:
    return SessionFile(**json.loads(path.read_text()))
