"""What has happened in the cluster, told from what is known of nodes, drivers, actors, workers."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ray_on_dask.util.state.listing import ask
from ray_on_dask.util.state.records import ClusterEventState
from ray_on_dask.util.state.sources import Clock, job_id


def cluster_events(timeout: float) -> list[ClusterEventState]:
    """The events, the newest first."""
    clock = Clock(timeout)
    found = [*_nodes(timeout), *_jobs(timeout), *_actors(timeout), *_workers(timeout)]
    return [
        ClusterEventState(
            severity=severity, source_type=source, message=message, event_id=f"{source}-{id}",
            time=f"{datetime.fromtimestamp(clock(when) / 1000):%Y-%m-%d %H:%M:%S}",
            custom_fields=fields,
        )
        for when, severity, source, id, message, fields in sorted(
            found, key=lambda event: event[0], reverse=True
        )
    ]  # fmt: skip


#: When, severity, source, id, message, further facts.
Event = tuple[float, str, str, str, str, dict[str, Any]]


def _nodes(timeout: float) -> list[Event]:
    out: list[Event] = []
    for x in ask("nodes", timeout):
        name, fields = f"Node {x['name'][:16]} ({x['ip']})", {"node_id": x["name"]}
        out.append((x["started"], "INFO", "NODE", f"{x['name']}-up", f"{name} has joined.", fields))
        if x["ended"]:
            text = f"{name} is gone: {x['reason']}."
            out.append((x["ended"], "ERROR", "NODE", f"{x['name']}-down", text, fields))
    return out


def _jobs(timeout: float) -> list[Event]:
    out: list[Event] = []
    for x in ask("jobs", timeout):
        name, fields = f"Job {job_id(x['job'])}", {"job_id": job_id(x["job"])}
        text = f"{name} has begun: {x['entrypoint']}"
        out.append((x["started"], "INFO", "JOB", f"{x['job']}-begin", text, fields))
        if x["ended"]:
            out.append((x["ended"], "INFO", "JOB", f"{x['job']}-end", f"{name} has ended.", fields))
    return out


def _actors(timeout: float) -> list[Event]:
    return [
        (x["ended"], "INFO", "ACTOR", x["actor_id"],
         f"Actor {x['class_name']} {x['name']} ({x['actor_id']}) is dead: {x['cause']}",
         {"actor_id": x["actor_id"], "job_id": job_id(x["job"])})
        for x in ask("actors", timeout)
        if x["ended"]
    ]  # fmt: skip


def _workers(timeout: float) -> list[Event]:
    """Executors that have crashed, or were killed."""
    return [
        (x["ended"], "WARNING", "WORKER", x["name"],
         f"Worker process {x['pid']} of node {x['node'][:16]} has ended: {x['reason']}.",
         {"pid": x["pid"], "node_id": x["node"], "job_id": job_id(x["job"])})
        for x in ask("departed", timeout)
        if x["kind"] == "executor" and x["status"]
    ]  # fmt: skip
