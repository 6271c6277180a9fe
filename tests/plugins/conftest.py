"""Dask clusters of other people's: processes of `dask scheduler` and `dask worker`."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from time import monotonic, sleep
from typing import Any

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class DaskCluster:
    """A scheduler and workers as somebody starts them who has never heard of this package."""

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []
        self.address = ""

    def start(self, workers: int, *arguments: str, nanny: bool = False) -> str:
        """The scheduler's address; `arguments` are for the scheduler."""
        from ray_on_dask.errorlog.server import free_port

        self.address = f"tcp://127.0.0.1:{free_port()}"
        port = self.address.rpartition(":")[2]
        self._run("scheduler", "--host", "127.0.0.1", "--port", port,
                  "--dashboard-address", "127.0.0.1:0", *arguments)  # fmt: skip
        for _ in range(workers):
            self.add_worker(nanny=nanny)
        return self.address

    def add_worker(self, *arguments: str, nanny: bool = False) -> subprocess.Popen[bytes]:
        """One more worker, with one thread."""
        return self._run("worker", self.address, "--nthreads", "1", "--host", "127.0.0.1",
                         "--no-dashboard", "--nanny" if nanny else "--no-nanny",
                         "--memory-limit", "2GB", *arguments)  # fmt: skip

    def _run(self, *command: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "dask", *command], stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": ROOT},
        )  # fmt: skip
        self.processes.append(process)
        return process

    def stop(self) -> None:
        """End the workers, then the scheduler."""
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(15.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def dask_cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[DaskCluster]:
    """Nothing is started yet; all of it has ended after the test."""
    import ray_on_dask as ray

    # On a busy machine `dask scheduler` takes its time to start.
    monkeypatch.setenv("DASK_RAY_ON_DASK__CONNECT_TIMEOUT", "45")
    monkeypatch.setenv("DASK_RAY_ON_DASK__NODE_TIMEOUT", "45")

    cluster = DaskCluster()
    yield cluster
    ray.shutdown()
    cluster.stop()
    gc.collect()  # a session's memory hangs on cycles


def until(condition: Any, timeout: float = 20.0) -> Any:
    """What `condition` gives as soon as it is true; fails the test after `timeout` seconds."""
    end = monotonic() + timeout
    while not (found := condition()):
        assert monotonic() < end, f"not within {timeout:g} s"
        sleep(0.02)
    return found


@pytest.fixture(name="until")
def until_fixture() -> Any:
    """`until(condition, timeout)`."""
    return until
