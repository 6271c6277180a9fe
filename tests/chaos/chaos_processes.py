"""Drivers in processes of their own that can be killed, and a view of all that a session has."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from ray_on_dask.runtime import process_tree

ROOT = Path(__file__).resolve().parents[2]
#: Seconds in which nothing may be left of what was killed.
LIMIT = 10.0

PREAMBLE = """
import json, os, sys, time
import ray_on_dask as ray
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
from ray_on_dask.api.init import _head

def ready(**facts):
    print(json.dumps({"head": _head.process.pid, **_head.facts, **facts}), flush=True)
"""


def until(condition: Callable[[], Any], what: str, limit: float = LIMIT) -> Any:
    """What the condition gives when it is true; fails with `what` if that takes too long."""
    end = monotonic() + limit
    while not (value := condition()):
        assert monotonic() < end, f"not within {limit:g} s: {what}"
        sleep(0.01)
    return value


def living(pids: list[int]) -> list[int]:
    """Those that run: neither gone nor zombies."""
    found = []
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state != "Z":
            found.append(pid)
    return found


class Session:
    """The processes and directories of a session."""

    def __init__(self, head: int, session_dir: str, shm: str) -> None:
        self.head = head
        self.directories = [session_dir, shm]

    @classmethod
    def of_this_driver(cls) -> Session:
        """The session that this process has started."""
        from ray_on_dask.api import init

        facts = init._head.facts
        return cls(init._head.process.pid, facts["session_dir"], facts["shm"])

    @property
    def processes(self) -> list[int]:
        """The head, its zygote, executors, and what they have started."""
        return [self.head, *process_tree.descendants(self.head)]

    @property
    def zygote(self) -> int:
        """The child of the head that forks executors."""
        return next(pid for pid in process_tree.children(self.head) if process_tree.children(pid))

    @property
    def executors(self) -> list[int]:
        """The executors' process ids."""
        return process_tree.children(self.zygote)

    def assert_gone(self, processes: list[int]) -> None:
        """Nothing is left of the session, which had these processes."""
        until(lambda: not living(processes), f"the end of {living(processes)}")
        until(
            lambda: not [path for path in self.directories if os.path.exists(path)],
            f"the removal of {self.directories}",
        )


class Driver:
    """A driver program of its own process."""

    def __init__(self, body: str) -> None:
        with tempfile.TemporaryFile("w+") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-c", PREAMBLE + body], cwd=ROOT, stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=errors, text=True,
            )  # fmt: skip
            assert self.process.stdout is not None
            line = self.process.stdout.readline()
            errors.seek(0)
            assert line, f"the driver has died:\n{errors.read()}"
        self.facts = json.loads(line)
        self.session = Session(self.facts["head"], self.facts["session_dir"], self.facts["shm"])

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait(LIMIT)

    def end(self) -> None:
        """Let it end in peace, and see that all that it had is closed."""
        self.process.kill()
        self.process.communicate(timeout=LIMIT)


def kill(*pids: int) -> None:
    """SIGKILL to all of them; the first must live, others may die with those before them."""
    os.kill(pids[0], signal.SIGKILL)
    for pid in pids[1:]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
