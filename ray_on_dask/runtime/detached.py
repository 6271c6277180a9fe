"""Heads and nodes that no driver owns: started and stopped by the command line."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

from ray_on_dask.plugins.session_file import SessionFile, session_files
from ray_on_dask.runtime import joining

#: Told to a Dask worker that is started here, for its node to say so.
VARIABLE = "RAY_ON_DASK_DETACHED"
NODE_TIMEOUT = 30.0


def start_head(host: str, port: int, resources: str | None = None, **given: Any) -> str:
    """Start a head that outlives this process; the scheduler's address.

    Raises
    ------
    ValueError
        For options that make no sense.
    RuntimeError
        When it does not come up.
    """
    from ray_on_dask.api.init_options import InitOptions
    from ray_on_dask.config import nbytes

    given["object_store_memory"] = nbytes(given.pop("object_store_memory", None))
    given["resources"] = json.loads(resources) if resources else None
    options = InitOptions.parse("local", (), {"node_ip_address": host, **given})
    head = joining.start_head(options, detached=True, port=port)
    assert head.process.stdout is not None
    head.process.stdout.close()
    return str(head.facts["address"])


def start_node(address: str, host: str, port: int = 0, **given: Any) -> int:
    """Start a Dask worker that outlives this process; its process id.

    Raises
    ------
    RuntimeError
        When it does not become a node in time.
    """
    known = {file.hub for file in session_files()}
    command = [sys.executable, "-m", "dask", "worker", address, "--no-nanny", "--no-dashboard"]
    command += ["--nworkers", "1", "--host", host]
    if given.get("num_cpus"):
        command += ["--nthreads", str(given["num_cpus"])]
    resources = json.loads(given.get("resources") or "{}")
    if given.get("num_gpus") is not None:
        resources["GPU"] = given["num_gpus"]
    if resources:
        command += ["--resources", " ".join(f"{key}={value}" for key, value in resources.items())]
    if given.get("object_store_memory"):
        command += ["--preload", "ray_on_dask.plugins.worker"]
        command += ["--object-store-memory", given["object_store_memory"]]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True, env={**os.environ, VARIABLE: "1"},
    )  # fmt: skip
    _wait_for_node(process, known, address)
    return process.pid


def _wait_for_node(process: subprocess.Popen[bytes], known: set[str], address: str) -> None:
    deadline = time.monotonic() + NODE_TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        if any(x.hub not in known and x.pid == process.pid for x in session_files()):
            return
        time.sleep(0.05)
    process.kill()
    raise RuntimeError(
        f"The worker did not become a node of {address}: is there a scheduler, with "
        "`--preload ray_on_dask.plugins.scheduler` or started by `ray-on-dask start --head`?"
    )


def stop_all(timeout: float) -> list[int]:
    """End the heads and nodes that were started here; their process ids."""
    ours = [file for file in session_files() if file.detached]
    pids = [pid for pid in map(_pid, ours) if pid]
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout
    while any(map(_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.02)
    for pid in filter(_alive, pids):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return pids


def _pid(file: SessionFile) -> int:
    return file.pid


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
