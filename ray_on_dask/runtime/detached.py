"""Heads and nodes that no driver owns: started and stopped by the command line."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from typing import IO, Any

from ray_on_dask.plugins.session_file import SessionFile, session_files
from ray_on_dask.runtime import joining

#: Told to a Dask worker that is started here, for its node to say so.
VARIABLE = "RAY_ON_DASK_DETACHED"
NODE_TIMEOUT = 30.0


def start_head(
    host: str = "127.0.0.1", port: int = 0, redis_port: int | None = None, **given: Any
) -> tuple[str, subprocess.Popen[bytes]]:
    """Start a head that outlives this process; the scheduler's address, and its process.

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
    options = InitOptions.parse("local", (), {"node_ip_address": host, **given})
    head = joining.start_detached_head(options, port, redis_port)
    assert head.process.stdout is not None
    head.process.stdout.close()
    return str(head.facts["address"]), head.process


def start_node(
    address: str, host: str = "127.0.0.1", port: int = 0, **given: Any
) -> subprocess.Popen[bytes]:
    """Start a Dask worker that outlives this process.

    Raises
    ------
    ConnectionError
        When there is no cluster of this user here, and `address` is ``"auto"``.
    RuntimeError
        When it does not become a node in time, with its last words.
    """
    files = session_files()
    if address == "auto":
        latest = next((file for file in files if file.alive), None)
        if latest is None:
            raise ConnectionError("There is no running cluster of this user on this machine.")
        address = latest.scheduler
    known = {file.hub for file in files}
    with tempfile.TemporaryFile() as words:
        process = subprocess.Popen(
            _worker_command(address, host, port, given), stdin=subprocess.DEVNULL, stdout=words,
            stderr=words, start_new_session=True, env={**os.environ, VARIABLE: "1"},
        )  # fmt: skip
        _wait_for_node(process, known, address, words)
    return process


def _worker_command(address: str, host: str, port: int, given: dict[str, Any]) -> list[str]:
    command = [sys.executable, "-m", "dask", "worker", address, "--no-nanny", "--no-dashboard"]
    command += ["--nworkers", "1", "--host", host]
    if port:
        command += ["--worker-port", str(port)]
    if given.get("num_cpus"):
        command += ["--nthreads", str(given["num_cpus"])]
    resources = dict(given.get("resources") or {})
    if given.get("num_gpus") is not None:
        resources["GPU"] = given["num_gpus"]
    if resources:
        command += ["--resources", " ".join(f"{key}={value}" for key, value in resources.items())]
    command += ["--preload", "ray_on_dask.plugins.worker"]
    for name in ("object_store_memory", "plasma_directory"):
        if given.get(name):
            command += [f"--{name.replace('_', '-')}", str(given[name])]
    if given.get("labels"):
        command += ["--labels", ",".join(f"{k}={v}" for k, v in given["labels"].items())]
    return command


def _wait_for_node(
    process: subprocess.Popen[bytes], known: set[str], address: str, words: IO[bytes]
) -> None:
    deadline = time.monotonic() + NODE_TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        if any(x.hub not in known and x.pid == process.pid for x in session_files()):
            return
        time.sleep(0.05)
    process.kill()
    process.wait()
    words.seek(0)
    last = words.read().decode(errors="replace").strip().splitlines()[-3:]
    raise RuntimeError(
        f"The worker did not become a node of {address}: is there a scheduler, with "
        "`--preload ray_on_dask.plugins.scheduler` or started by `ray-on-dask start --head`?"
        + "".join(f"\n  {line}" for line in last)
    )


def wait(process: subprocess.Popen[bytes]) -> bool:
    """Until it ends: by itself (True), or by Ctrl-C or SIGTERM here, which end it."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        process.wait()
        return process.returncode not in (0, -signal.SIGTERM)
    except KeyboardInterrupt:
        process.terminate()
        try:
            process.wait(10.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        return False
    finally:
        signal.signal(signal.SIGTERM, before)


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
