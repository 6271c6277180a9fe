"""`Cluster`: several nodes on one machine, for tests of programs that need more than one."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Cluster", "ClusterNode"]

#: Options of Ray's nodes that name what these do not have: ports, a dashboard each.
WITHOUT_EFFECT = frozenset({
    "dashboard_agent_listen_port", "dashboard_host", "dashboard_port", "include_dashboard",
    "max_worker_port", "min_worker_port", "node_manager_port", "object_manager_port",
    "ray_client_server_port", "redis_port",
})  # fmt: skip
#: Seconds for a process to come up, and to end when it is asked to.
START_TIMEOUT, STOP_TIMEOUT = 30.0, 10.0


@dataclass(eq=False)
class ClusterNode:
    """A node of a `Cluster`: one Dask worker process."""

    process: subprocess.Popen[bytes]
    name: str
    #: 56 hex digits, as `nodes()` shows it; "" until it has joined.
    node_id: str = ""
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def unique_id(self) -> str:
        """Another name of `node_id`."""
        return self.node_id


class Cluster:
    """A Dask scheduler and workers, each a process and a node, on this machine.

    Parameters
    ----------
    initialize_head : bool
        Add a first node at once.
    connect : bool
        Join the cluster at once, as `connect` does.
    head_node_args : dict, optional
        Arguments of `add_node` for the first node.
    shutdown_at_exit : bool
        End all processes when the interpreter does.

    Examples
    --------
    .. code-block:: python

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        cluster.add_node(num_cpus=2, resources={"disk": 1})
        cluster.connect()
    """

    def __init__(
        self,
        initialize_head: bool = False,
        connect: bool = False,
        head_node_args: dict[str, Any] | None = None,
        shutdown_at_exit: bool = True,
    ):
        self.nodes: list[ClusterNode] = []
        self._connected = False
        self._count = 0
        port = _free_port()
        self.address = f"tcp://127.0.0.1:{port}"
        self._scheduler = _dask(
            "scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard",
            "--preload", "ray_on_dask.plugins.scheduler",
        )  # fmt: skip
        if shutdown_at_exit:
            atexit.register(self.shutdown)
        if initialize_head:
            self.add_node(**(head_node_args or {}))
        if connect:
            self.connect()

    @property
    def head_node(self) -> ClusterNode | None:
        """The node that was added first, None without any."""
        return self.nodes[0] if self.nodes else None

    @property
    def worker_nodes(self) -> set[ClusterNode]:
        """All other nodes."""
        return set(self.nodes[1:])

    @property
    def gcs_address(self) -> str:
        """The scheduler's address: the control store is within it."""
        return self.address

    def add_node(
        self,
        wait: bool = True,
        *,
        num_cpus: float = 1,
        num_gpus: int = 0,
        resources: dict[str, float] | None = None,
        object_store_memory: int | None = None,
        memory: int | None = None,
        labels: dict[str, str] | None = None,
        temp_dir: str | None = None,
        plasma_directory: str | None = None,
        **without_effect: Any,
    ) -> ClusterNode:
        """Start one more node.

        Parameters
        ----------
        wait : bool
            Until it has joined.
        num_cpus, num_gpus, resources, object_store_memory, memory, labels
            What it has.
        temp_dir, plasma_directory : str, optional
            Where its sockets and logs, and its objects, lie.
        **without_effect
            Ports and dashboards of Ray's nodes, which these do not have.

        Raises
        ------
        TimeoutError
            If it has not joined within half a minute.
        TypeError
            For options that there are not.
        """
        unknown = sorted(set(without_effect) - WITHOUT_EFFECT)
        if unknown:
            raise TypeError(f"add_node() got an unexpected keyword argument {unknown[0]!r}")
        self._count += 1
        name = f"node-{self._count}"
        command = [
            "worker", self.address, "--nthreads", str(max(1, int(num_cpus))), "--host", "127.0.0.1",
            "--no-nanny", "--no-dashboard", "--name", name, "--memory-limit", "0",
            "--preload", "ray_on_dask.plugins.worker", "--ray-num-cpus", str(num_cpus),
            "--ray-num-gpus", str(num_gpus),
        ]  # fmt: skip
        given = {
            "--object-store-memory": object_store_memory, "--ray-memory": memory,
            "--ray-temp-dir": temp_dir, "--plasma-directory": plasma_directory,
            "--labels": ",".join(f"{k}={v}" for k, v in (labels or {}).items()) or None,
            "--ray-resources": " ".join(f"{k}={v:g}" for k, v in (resources or {}).items()) or None,
        }  # fmt: skip
        for option, value in given.items():
            command += [option, str(value)] if value is not None else []
        known = {entry["NodeID"] for entry in self._listed()} if wait else set()
        node = ClusterNode(_dask(*command), name, options={"num_cpus": num_cpus})
        self.nodes.append(node)
        if wait:
            self._await_join(node, known)
        return node

    def _await_join(self, node: ClusterNode, known: set[str]) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline and node.process.poll() is None:
            new = [x["NodeID"] for x in self._listed() if x["Alive"] and x["NodeID"] not in known]
            if new:
                node.node_id = new[0]
                return
            time.sleep(0.05)
        raise TimeoutError(f"{node.name} did not join {self.address}")

    def _listed(self) -> list[dict[str, Any]]:
        """The cluster's nodes, as the scheduler lists them."""
        program = (
            "import asyncio, json, sys\n"
            "from distributed.core import rpc\n"
            "async def main():\n"
            "    async with rpc(sys.argv[1]) as scheduler:\n"
            "        return await scheduler.rod_info()\n"
            "info = asyncio.run(main())\n"
            "print(json.dumps([{'NodeID': n['name'], 'Alive': n['alive']} for n in info['nodes']]))"
        )
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            done = subprocess.run(
                [sys.executable, "-c", program, self.address],
                capture_output=True, timeout=START_TIMEOUT, check=False,
            )  # fmt: skip
            if done.returncode == 0:
                listed: list[dict[str, Any]] = json.loads(done.stdout)
                return listed
            time.sleep(0.1)
        raise TimeoutError(f"no scheduler answers at {self.address}")

    def remove_node(self, node: ClusterNode, allow_graceful: bool = True) -> None:
        """End a node, with a word of warning or without.

        Raises
        ------
        ValueError
            If it is none of this cluster's.
        """
        if node not in self.nodes:
            raise ValueError(f"{node.name} is no node of this cluster")
        self.nodes.remove(node)
        _end(node.process, graceful=allow_graceful)

    def connect(self, namespace: str | None = None) -> Any:
        """Join the cluster as a driver: `init` with its address."""
        import ray_on_dask as ray

        self._connected = True
        return ray.init(self.address, namespace=namespace, ignore_reinit_error=True)

    def wait_for_nodes(self, timeout: float = 30.0) -> None:
        """Until as many nodes are alive as were added; `TimeoutError` after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            alive = sum(entry["Alive"] for entry in self._listed())
            if alive == len(self.nodes):
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"{alive} of {len(self.nodes)} nodes are alive")
            time.sleep(0.1)

    def list_all_nodes(self) -> list[ClusterNode]:
        """The nodes that have been added and not removed."""
        return list(self.nodes)

    def remaining_processes_alive(self) -> bool:
        """Whether all processes that should run do."""
        processes = [self._scheduler, *(node.process for node in self.nodes)]
        return all(process.poll() is None for process in processes)

    def shutdown(self) -> None:
        """Leave the cluster, if this process has joined it, and end all of it."""
        if self._connected:
            import ray_on_dask as ray

            self._connected = False
            ray.shutdown()
        for node in self.list_all_nodes():
            self.remove_node(node)
        _end(self._scheduler, graceful=True)
        atexit.unregister(self.shutdown)


def _dask(*command: str) -> subprocess.Popen[bytes]:
    """Start `dask …` by this interpreter, with this process's module path."""
    path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    return subprocess.Popen(
        [sys.executable, "-m", "dask", *command],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": path}, start_new_session=True,
    )  # fmt: skip


def _end(process: subprocess.Popen[bytes], graceful: bool) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM if graceful else signal.SIGKILL)
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
