"""One session, its sockets, and a stranger."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from typing import Any

import pytest

#: Somebody who is neither this user nor root.
NOBODY = 65534

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@pytest.fixture(scope="module")
def ray(ray_session: Callable[..., Any]) -> Any:
    return ray_session(num_cpus=2)


def as_stranger(act: Callable[[], int]) -> int:
    """What `act` returns in a child process of another user; 99 if it raises."""
    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            status = act()
        except BaseException as error:
            print(repr(error), file=sys.stderr)
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def try_to_connect(path: str) -> int:
    """0 if nobody answers: the file cannot be reached, or the line is closed at once; 1 else."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        try:
            sock.connect(path)
            return 0 if sock.recv(1) == b"" else 1
        except (PermissionError, ConnectionResetError):
            return 0


def listening() -> dict[str, str]:
    """{path of each Unix socket of this session: "hub" or "executor"}."""
    from ray_on_dask.runtime import current

    directory = os.path.dirname(current.require().hub_path)
    found = {}
    for folder, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.exists(path) and (os.stat(path).st_mode & 0o170000) == 0o140000:
                found[path] = "hub" if name == "hub" else "executor"
    return found
