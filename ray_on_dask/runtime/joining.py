"""How a driver finds its node: one that it starts, or one on this host of a cluster that runs."""

from __future__ import annotations

import base64
import json
import math
import os
import pickle
import select
import subprocess
import sys
import tempfile
import time
from typing import IO, Any

from ray_on_dask.config import nbytes, setting

#: Seconds for a local cluster to come up.
START_TIMEOUT = 60.0


class Head:
    """The process of a local cluster, or of a gateway to one: it ends when its stdin closes."""

    def __init__(self, process: subprocess.Popen[bytes], facts: dict[str, Any]):
        self.process = process
        self.facts = facts

    def stop(self) -> None:
        """End it, and remove what it might leave behind if it was killed."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(5.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


def begin_head(options: Any) -> subprocess.Popen[bytes]:
    """Start the process of a local cluster that ends with this one; see `wait_for_head`."""
    return _spawn(head_config(options) | {"detached": False}, None)


def wait_for_head(process: subprocess.Popen[bytes]) -> Head:
    """The local cluster that has been begun; `RuntimeError` if it does not come up."""
    return Head(process, _first_word(process))


def start_detached_head(options: Any, port: int = 0, redis_port: int | None = None) -> Head:
    """Start a local cluster that does not end with this process.

    Raises
    ------
    RuntimeError
        With its last words, if it does not come up.
    """
    config = head_config(options) | {"detached": True, "port": port}
    config["redis"]["port"] = redis_port or 0
    # What a detached head's children inherit must not be a pipe of whoever has started it.
    with tempfile.TemporaryFile() as words:
        process = _spawn(config, words)
        return Head(process, _first_word(process, words=words))


def _spawn(config: dict[str, Any], words: IO[bytes] | None) -> subprocess.Popen[bytes]:
    start = (
        "import sys, json; sys.path[:] = json.loads(sys.argv.pop(1)); "
        "from ray_on_dask.runtime.head import main; sys.exit(main())"
    )
    # Not before the others: setproctitle finds its place by the first variable, and executors
    # set these anew.
    environment = {
        **os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
    }  # fmt: skip
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        if name in os.environ:
            environment[name] = os.environ[name]
    return subprocess.Popen(
        [sys.executable, "-c", start, json.dumps(sys.path), json.dumps(config)],
        stdin=subprocess.PIPE if words is None else subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=words, start_new_session=True, env=environment,
    )  # fmt: skip


def _first_word(
    process: subprocess.Popen[bytes], what: str = "local cluster", words: IO[bytes] | None = None
) -> dict[str, Any]:
    assert process.stdout is not None
    fd, deadline, text = process.stdout.fileno(), time.monotonic() + START_TIMEOUT, b""
    while not text.endswith(b"\n"):
        ready, _, _ = select.select([fd], [], [], max(0.0, deadline - time.monotonic()))
        data = os.read(fd, 1 << 16) if ready else b""
        if not data:
            process.kill()
            status = process.wait()
            said = "what it said is above, on stderr."
            if words is not None:
                words.seek(0)
                said = f"it said:\n{words.read().decode(errors='replace')[-2_000:]}"
            raise RuntimeError(f"The {what} did not start (exit status {status}); {said}")
        text += data
    facts: dict[str, Any] = json.loads(text)
    return facts


def head_config(options: Any) -> dict[str, Any]:
    """What the head is told."""
    count = options.num_cpus
    if count is None:
        count = options.num_workers or setting("num-cpus") or len(os.sched_getaffinity(0))
    resources = dict(options.resources or {})
    if options.num_custom_resource:
        resources["custom"] = options.num_custom_resource
    host = options.node_ip_address or "127.0.0.1"
    return {
        "host": "127.0.0.1" if host == "127.0.0.1" else host,
        "port": 0,
        "nthreads": max(1, math.floor(count)),
        "resources": {},
        "session": {"started_by": os.getpid()},
        "redis": {
            "shards": options.num_redis_shards or 0,
            "url": os.environ.get("RAY_ON_DASK_REDIS") or setting("redis") or "", "port": 0,
        },
        "dashboard": {
            "include": options.include_dashboard is not False,
            "host": options.dashboard_host,
            "port": options.dashboard_port or setting("dashboard-port"),
        },
        "node": {
            "num_cpus": count, "num_gpus": options.num_gpus, "resources": resources,
            "object_store_memory": options.object_store_memory
            or nbytes(setting("object-store-memory")),
            "memory": options.memory, "temp_dir": options.temp_dir,
            "node_name": options.node_name or "",
            "spill_directory": options.object_spilling_directory or setting("spill-directory"),
            "plasma_directory": options.plasma_directory or setting("plasma-directory"),
            "labels": options.labels, "head": True, "ip": options.node_ip_address or "",
            "spares": options.num_workers,
        },
    }  # fmt: skip


def find_hub(options: Any) -> tuple[str, Any, Head | None]:
    """The hub for a driver of the cluster that `options` name, and the user's own client of it.

    Without a node on this host it is that of a gateway, which is started, and comes with it.
    """
    from ray_on_dask.plugins.attach import attach

    found = attach(options)
    if found.hub:
        return found.hub, found.client, None
    gateway = start_gateway(found.address, found.security, options)
    return gateway.facts["hub"], found.client, gateway


def start_gateway(scheduler: str, security: Any, options: Any) -> Head:
    """Start what takes the place of a node; it ends with this process."""
    config = {
        "scheduler": scheduler,
        "security": base64.b64encode(pickle.dumps(security)).decode(),
        "node": {
            "object_store_memory": options.object_store_memory
            or nbytes(setting("object-store-memory")),
            "plasma_directory": options.plasma_directory or setting("plasma-directory"),
            "temp_dir": options.temp_dir,
        },
    }
    start = (
        "import sys, json; sys.path[:] = json.loads(sys.argv.pop(1)); "
        "from ray_on_dask.runtime.gateway import main; sys.exit(main())"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", start, json.dumps(sys.path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(json.dumps(config).encode() + b"\n")
    process.stdin.flush()
    return Head(process, _first_word(process, "gateway"))


def make_interop(driver: Any, options: Any) -> Any:
    """What connects this driver with Dask, when it is first needed."""
    from ray_on_dask.runtime.dask_interop import DaskInterop

    return DaskInterop(driver, getattr(options, "client", None))
