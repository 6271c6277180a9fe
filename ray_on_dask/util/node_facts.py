"""Small questions about this machine and the session's named actors."""

from __future__ import annotations

import os
import socket
from typing import Any

import ray_on_dask as ray
from ray_on_dask.api.cluster_state import _ask


def get_node_ip_address(address: str | None = None) -> str:
    """The address of the node that this process belongs to.

    Parameters
    ----------
    address : str, optional
        Outside of a session: a host that others can be reached by, ``host:port``; the local
        address towards it is the answer.
    """
    if address is None and ray.is_initialized():
        here = ray.get_runtime_context().get_node_id()
        for node in ray.nodes():
            if node["NodeID"] == here:
                return str(node["NodeManagerAddress"])
    return _address_towards(address or "8.8.8.8:53")


def _address_towards(address: str) -> str:
    host, _, port = address.rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, int(port)))  # sends nothing: it only picks a route
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"


def get_node_instance_id() -> str:
    """What the environment variable ``RAY_CLOUD_INSTANCE_ID`` says, "" if it is not set."""
    return os.environ.get("RAY_CLOUD_INSTANCE_ID", "")


def list_named_actors(all_namespaces: bool = False) -> list[Any]:
    """The names of living named actors.

    Parameters
    ----------
    all_namespaces : bool
        Of all namespaces, as dicts ``{"name": ..., "namespace": ...}``; else the names in this
        session's namespace.
    """
    if all_namespaces:
        found: list[Any] = _ask("named_actors")
        return found
    namespace = ray.get_runtime_context().namespace
    return [actor["name"] for actor in _ask("named_actors", namespace=namespace)]
