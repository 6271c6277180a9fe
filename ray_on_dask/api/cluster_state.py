"""What the cluster has: nodes, resources in all, resources that are free."""

from __future__ import annotations

from typing import Any

from ray_on_dask.api import session as sessions
from ray_on_dask.runtime import current


def _ask(what: str, **args: Any) -> Any:
    if current.process is None:
        if sessions.local is not None:
            return sessions.local.state(what)
        from ray_on_dask.exceptions import RaySystemError

        raise RaySystemError(
            current.gone or "Ray has not been started yet. You can start Ray with 'ray.init()'."
        )
    return current.process.asking.ask(what, **args)


def nodes() -> list[dict[str, Any]]:
    """The nodes, those that have died too; one is one Dask worker.

    Returns
    -------
    list of dict
        ``NodeID`` (56 hex digits), ``Alive``, ``NodeManagerAddress``, ``NodeManagerHostname``,
        ``Resources`` ({name: quantity}, memory in bytes), ``Labels``, …, and of this package
        ``ObjectStore``: the node's store in numbers, as of a second ago ({} for one that is dead).

    Raises
    ------
    RaySystemError
        Before `init`.
    """
    found = _ask("nodes")
    figures = _ask("figures") if current.process is not None else {}
    return [_as_ray_shows(node, figures.get(node["name"], {})) for node in found]


def _as_ray_shows(node: dict[str, Any], figures: dict[str, Any]) -> dict[str, Any]:
    digits = node["address"].rpartition(":")[2]
    port = int(digits) if digits.isdigit() else 0  # "inproc://…" has none
    return {
        "NodeID": node["name"], "Alive": node["alive"], "alive": node["alive"],
        "NodeManagerAddress": node["ip"], "NodeManagerHostname": node["hostname"],
        "NodeManagerPort": port, "ObjectManagerPort": port,
        "ObjectStoreSocketName": node["hub"], "RayletSocketName": node["hub"],
        "MetricsExportPort": node.get("metrics_port", 0), "MetricsAgentPort": 0,
        "DashboardAgentListenPort": 0, "RuntimeEnvAgentPort": 0,
        "NodeName": node.get("node_name") or node["ip"],
        "DeathReason": 0 if node["alive"] else 1, "DeathReasonMessage": node["reason"],
        "Labels": {"ray.io/node-id": node["name"], **node["labels"]},
        "Resources": node["resources"] if node["alive"] else {},
        "ObjectStore": figures.get("store", {}) if node["alive"] else {},
    }  # fmt: skip


def cluster_resources() -> dict[str, float]:
    """All nodes' resources, {name: quantity}; memory in bytes. `RaySystemError` before `init`."""
    found: dict[str, float] = _ask("cluster_resources")
    return found


def available_resources() -> dict[str, float]:
    """What is free now; a resource with nothing left is absent. `RaySystemError` before `init`."""
    found: dict[str, float] = _ask("available_resources")
    return found
