"""How a driver joins a cluster that runs: find the scheduler, see to the plugins, pick a node.

Nothing of the cluster's is started or stopped with the driver, but for the plugins, which the
first driver brings along and which stay.
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ray_on_dask.config import setting
from ray_on_dask.plugins.session_file import SessionFile, session_files
from ray_on_dask.runtime.directories import host_id

#: Seconds that are left to a worker on this host when there are nodes on others already.
LATECOMER = 2.0
#: Protocols on which another process than the driver can reach the scheduler.
GATEWAY_SCHEMES = ("tcp", "tls", "ucx", "ws", "wss")


@dataclass(frozen=True)
class Found:
    """What a driver joins by."""

    #: Of a node on this host; "" if there is none, so that a gateway is needed.
    hub: str
    #: The user's own client if one was given.
    client: Any = None
    #: The scheduler, and the `Security` to reach it with.
    address: str = ""
    security: Any = None


def attach(options: Any) -> Found:
    """The hub of a node on this host, or what it takes to do without.

    Parameters
    ----------
    options : InitOptions
        `address`, `redis_address`, `redis_password`, `temp_dir` count.

    Raises
    ------
    ConnectionError
        When there is no scheduler, no Redis that knows one, or no node at all; the text says
        what to do.
    RuntimeError
        When the cluster lacks this package, or has another version of it.
    """
    target = options.address
    if target is None or isinstance(target, str):
        found, address = _locate(options, target)
        if found is not None:
            return Found(found.hub)
        with _Session.open(address) as session:
            return session.find()
    with _Session.of(target) as session:
        return session.find()


def _locate(options: Any, address: str | None) -> tuple[SessionFile | None, str]:
    """A node on this host whose hub answers, if it can be told without Dask; else the scheduler."""
    files = session_files(options.temp_dir)
    if address == "auto":
        latest = next((file for file in files if file.alive), None)
        if latest is None:
            raise ConnectionError(
                "There is no running cluster of this user on this machine. Start one with "
                "`ray-on-dask start --head`, or call init() without an address."
            )
        return latest, latest.scheduler
    if address is None:
        address, password = options.redis_address, options.redis_password
        same = [x for x in files if x.redis and _same_server(x.redis, address) and x.alive]
        if same and (password is None or password == urlsplit(same[0].redis).password):
            return same[0], same[0].scheduler
        from ray_on_dask.errorlog.address import get_address

        address = get_address(address, password)
    if "://" not in address:
        address = f"tcp://{address}"
    # The node that has been there for longest will probably be there for longest.
    return next((x for x in reversed(files) if x.scheduler == address and x.alive), None), address


def _same_server(url: str, address: str) -> bool:
    local = {"localhost": "127.0.0.1"}
    ours, theirs = urlsplit(url), urlsplit(address if "://" in address else f"redis://{address}")
    host = local.get(theirs.hostname or "", theirs.hostname)
    return (ours.hostname, ours.port) == (host, theirs.port)


@dataclass
class _Session:
    """A client of the cluster, for as long as it takes to join."""

    client: Any
    address: str
    #: Whether the client is the user's, and stays open.
    given: bool

    @classmethod
    def open(cls, address: str, security: Any = None) -> _Session:
        _check_credentials(address, security)
        try:
            _knock(address)
            from distributed import Client

            client = Client(
                address, timeout=setting("connect-timeout", 10), set_as_default=False,
                security=security, asynchronous=False, name="ray_on_dask",
            )  # fmt: skip
        except (OSError, ValueError, TimeoutError, TypeError) as error:
            # Dask says by a TypeError that there are no certificates for tls://.
            raise ConnectionError(
                f"No Dask scheduler answers at {address}: {error}. Start one with "
                "`dask scheduler`, or check the address (and its protocol, tcp:// or tls://)."
            ) from error
        return cls(client, address, False)

    @classmethod
    def of(cls, target: Any) -> _Session:
        """A session by a `Client` or a cluster object."""
        from distributed import Client

        if isinstance(target, Client):
            if target.status != "running":
                raise ConnectionError(f"init(address={target!r}): this client is {target.status}")
            address = target.scheduler.address
            if not target.asynchronous:
                return cls(target, address, True)
            return cls.open(address, target.security)
        if getattr(getattr(target, "status", None), "name", "") in ("closing", "closed", "failed"):
            raise ConnectionError(f"init(address={target!r}): this cluster is closed")
        address = getattr(target, "scheduler_address", None)
        if not isinstance(address, str):
            raise TypeError(
                f"init(address={target!r}): an address, a distributed.Client or a cluster object "
                "is expected"
            )
        if "://" not in address:
            raise ConnectionError(f"init(address={target!r}): this cluster is not running")
        return cls.open(address, getattr(target, "security", None))

    def __enter__(self) -> _Session:
        return self

    def __exit__(self, *exception: object) -> None:
        if not self.given:
            self.client.close()

    def find(self) -> Found:
        """A node on this host, once there is one, or the way to the scheduler."""
        client = self.client if self.given else None
        return Found(self._hub(), client, self.address, self.client.security)

    def _hub(self) -> str:
        self._bring_plugins()
        since = time.monotonic()
        while True:
            info = self._ask("rod_info")
            _check_version(info["version"], self.address)
            here = [x for x in info["nodes"] if x["alive"] and x["host"] == host_id()]
            if here:
                return str(_best(here)["hub"])
            waited = time.monotonic() - since
            if waited > (LATECOMER if _settled(info) else setting("node-timeout", 15)):
                if _elsewhere(info) and urlsplit(self.address).scheme in GATEWAY_SCHEMES:
                    return ""
                raise ConnectionError(_no_node(info, self.address))
            time.sleep(0.05)

    def _ask(self, name: str) -> Any:
        from ray_on_dask.plugins._dask_compat import ask_scheduler

        return ask_scheduler(self.client, name)

    def _bring_plugins(self) -> None:
        from ray_on_dask.plugins.cluster_log import given_url
        from ray_on_dask.plugins.scheduler_plugin import ControlPlugin
        from ray_on_dask.plugins.worker_plugin import NodePlugin

        url = given_url()
        url = url or setting("redis")
        control = ControlPlugin(node=NodePlugin(), redis={"url": url} if url else {})
        try:
            self.client.register_plugin(control)
        except ModuleNotFoundError as error:
            raise RuntimeError(
                f"The scheduler at {self.address} cannot import ray_on_dask ({error}): install it "
                "where the scheduler and the workers run."
            ) from error


def _check_credentials(address: str, security: Any) -> None:
    """`ConnectionError` for a cluster with TLS if there is nothing to show to it."""
    if not address.startswith("tls://"):
        return
    from distributed.security import Security

    if (security or Security()).get_connection_args("client").get("ssl_context") is None:
        raise ConnectionError(
            f"The cluster at {address} has TLS, and this process no credentials for it: set "
            "`distributed.comm.tls` in Dask's configuration, or give init() a Client or a cluster "
            "object that has them."
        )


def _knock(address: str) -> None:
    """Wait until somebody listens there; `OSError` if nobody does within the time for it.

    Dask would wait as well, but a `Client` that fails leaves its thread behind.
    """
    parts = urlsplit(address)
    if parts.scheme not in ("tcp", "tls") or not parts.hostname or not parts.port:
        return
    timeout = float(setting("connect-timeout", 10))
    deadline = time.monotonic() + timeout
    while True:
        try:
            socket.create_connection((parts.hostname, parts.port), timeout).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _check_version(theirs: str, address: str) -> None:
    from ray_on_dask import __version__

    if theirs != __version__:
        raise RuntimeError(
            f"The cluster at {address} runs ray_on_dask {theirs}, this driver {__version__}: "
            "install the same version on both sides."
        )


def _best(nodes: list[dict[str, Any]]) -> dict[str, Any]:
    """The node for a driver: not one that is about to leave, and one where there is life."""
    return min(nodes, key=lambda node: (node["draining"], -node["executors"]))


def _settled(info: dict[str, Any]) -> bool:
    """Whether every worker that is there has said what it is."""
    return len([x for x in info["nodes"] if x["alive"]]) >= info["workers"] > 0


def _elsewhere(info: dict[str, Any]) -> bool:
    """Whether there are nodes that a driver on this host can use through a gateway."""
    return any(node["alive"] for node in info["nodes"])


def _no_node(info: dict[str, Any], address: str) -> str:
    start = f"start a worker here (`dask worker {address}`)"
    if info["failures"]:
        worker, why = next(iter(info["failures"].items()))
        return f"The Dask worker at {worker} could not become a node: {why}"
    hosts = sorted({f"{x['hostname']} ({x['ip']})" for x in info["nodes"] if x["alive"]})
    if not hosts:
        return (
            f"There is a Dask scheduler at {address}, but no worker of it has become a node: "
            f"{start}."
        )
    same = [x for x in info["nodes"] if x["alive"] and _other_user(x["host"])]
    if same:
        return (
            f"The nodes of {address} on this host belong to another user, or run in a container "
            f"with a /dev/shm of its own: run the driver as that user, or {start}."
        )
    return (
        f"The cluster at {address} has nodes on {', '.join(hosts)}, but none on this host: "
        f"{start}, or run the driver on one of those hosts."
    )


def _other_user(host: str) -> bool:
    """Whether this is another user, or another file system, on this host."""
    ours = host_id()
    return host != ours and host.rsplit("-", 2)[0] == ours.rsplit("-", 2)[0]
