"""Who takes part in a cluster: drivers and executors, their jobs, nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ray_on_dask.core.instructions import Send
from ray_on_dask.wire import messages as m


@dataclass(slots=True)
class Member:
    """A driver or executor."""

    name: str
    kind: str
    node: str
    pid: int = 0
    job: int = 0
    address: str = ""


@dataclass(slots=True)
class Job:
    """One driver's session."""

    number: int
    driver: str
    config: m.JobConfig
    started: float
    ended: float = 0.0
    pid: int = 0
    node: str = ""


@dataclass(slots=True)
class NodeFacts:
    """What a node says of itself when it joins."""

    name: str
    #: Address of the Dask worker.
    address: str
    ip: str
    hostname: str
    host: str
    hub: str
    shm: str
    session_dir: str
    pid: int
    resources: dict[str, int]
    labels: dict[str, str] = field(default_factory=dict)
    head: bool = False
    #: How people call it; "" for its address.
    node_name: str = ""
    alive: bool = True
    reason: str = ""
    started: float = 0.0
    ended: float = 0.0


@dataclass(frozen=True, slots=True)
class Blocked:
    """A task has been blocked for some seconds, until now, and had lent its CPU."""

    pid: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Record:
    """Something for the plugin to keep or show: `ErrorRecord`, `TaskEvents`, a lost node."""

    message: Any
    node: str = ""
    job: int = 0
    #: The process that tells it, and the actor that it is.
    process: str = ""
    actor: str = ""


def across_hosts(send: Send, home: str, nodes: Mapping[str, NodeFacts]) -> Send:
    """The same to send, without an executor's address if that is a socket of another host.

    Who is given a node and no address reaches the executor through the hub of its own node.
    """
    message = send.message
    if type(message) not in (m.Granted, m.ActorState) or not message.address:
        return send
    here, there = nodes.get(home), nodes.get(message.node)
    if there is None or (here is not None and here.host == there.host):
        return send  # who has no node of those has a gateway, on a host without any
    return Send(send.to, msgspec.structs.replace(message, address=""))
