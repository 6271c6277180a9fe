"""What there is in a cluster: nodes, actors, tasks, objects, …, as lists of records.

All of them take `filters`, a list of ``(field, "=", value)`` (or ``!=``, ``<``, ``<=``, ``>``,
``>=``), `limit`, and `timeout` in seconds. `address` is accepted and of no effect: the session of
the calling process answers.

Not recorded, and so not here: tasks that have not ended yet, and of very many short tasks all but
a sample; why a process has ended, once it is gone; how a driver ended; objects that never left
their owner; runtime environments; logs. The fields of each record are in
`ray_on_dask.util.state.records`.

>>> import ray_on_dask as ray
>>> from ray_on_dask.util.state import list_actors
>>> alive = list_actors(filters=[("state", "=", "ALIVE")])
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ray_on_dask.util.state import listing
from ray_on_dask.util.state.listing import Filter, RayStateApiException
from ray_on_dask.util.state.records import (
    ActorState,
    JobState,
    NodeState,
    ObjectState,
    PlacementGroupState,
    TaskState,
    WorkerState,
)

__all__ = [
    "RayStateApiException", "get_actor", "get_job", "get_node", "get_objects",
    "get_placement_group", "get_task", "get_worker", "list_actors", "list_jobs", "list_nodes",
    "list_objects", "list_placement_groups", "list_tasks", "list_workers", "summarize_actors",
    "summarize_objects", "summarize_tasks",
]  # fmt: skip

Filters = Iterable[Filter] | None
#: Seconds for an answer.
TIMEOUT = 30


def list_nodes(
    address: str | None = None, filters: Filters = None, limit: int = 100,
    timeout: float = TIMEOUT, **_: Any,
) -> list[NodeState]:  # fmt: skip
    """The nodes, those that are gone too."""
    return listing.select(listing.nodes(timeout), NodeState, filters, limit)


def list_actors(
    address: str | None = None, filters: Filters = None, limit: int = 100,
    timeout: float = TIMEOUT, **_: Any,
) -> list[ActorState]:  # fmt: skip
    """The actors, the latest dead ones too."""
    return listing.select(listing.actors(timeout), ActorState, filters, limit)


def list_tasks(
    address: str | None = None, filters: Filters = None, limit: int = 100,
    timeout: float = TIMEOUT, **_: Any,
) -> list[TaskState]:  # fmt: skip
    """Runs of tasks and actor calls that have ended, the newest first."""
    return listing.select(listing.tasks(timeout), TaskState, filters, limit)


def list_jobs(
    address: str | None = None, filters: Filters = None, limit: int = 100,
    timeout: float = TIMEOUT, **_: Any,
) -> list[JobState]:  # fmt: skip
    """The sessions of drivers, those that have ended too."""
    return listing.select(listing.jobs(timeout), JobState, filters, limit)


def list_placement_groups(
    address: str | None = None, filters: Filters = None, limit: int = 100,
    timeout: float = TIMEOUT, **_: Any,
) -> list[PlacementGroupState]:  # fmt: skip
    """The placement groups, the latest removed ones too."""
    found = listing.placement_groups(timeout)
    return listing.select(found, PlacementGroupState, filters, limit)


def list_workers(
    address: str | None = None, filters: Filters = None, limit: int = 100,
    timeout: float = TIMEOUT, **_: Any,
) -> list[WorkerState]:  # fmt: skip
    """Living drivers and executors."""
    return listing.select(listing.workers(timeout), WorkerState, filters, limit)


def list_objects(
    address: str | None = None, filters: Filters = None, limit: int = 100,
    timeout: float = TIMEOUT, **_: Any,
) -> list[ObjectState]:  # fmt: skip
    """Objects of which others than their owners know."""
    return listing.select(listing.objects(timeout), ObjectState, filters, limit)


# -- one ---------------------------------------------------------------------------------


def get_node(id: str, address: str | None = None, timeout: float = TIMEOUT) -> NodeState | None:
    """The node with this id, None if there was none."""
    return _first(listing.nodes(timeout), "node_id", id)


def get_actor(id: str, address: str | None = None, timeout: float = TIMEOUT) -> ActorState | None:
    """The actor with this id, None if there was none."""
    return _first(listing.actors(timeout), "actor_id", id)


def get_task(id: str, address: str | None = None, timeout: float = TIMEOUT) -> TaskState | None:
    """The latest run of the task with this id, None if none is recorded."""
    return _first(listing.tasks(timeout), "task_id", id.removesuffix("0" * 16))


def get_job(id: str, address: str | None = None, timeout: float = TIMEOUT) -> JobState | None:
    """The job with this id, None if there was none."""
    return _first(listing.jobs(timeout), "job_id", id)


def get_placement_group(
    id: str, address: str | None = None, timeout: float = TIMEOUT
) -> PlacementGroupState | None:
    """The placement group with this id, None if there was none."""
    return _first(listing.placement_groups(timeout), "placement_group_id", id)


def get_worker(id: str, address: str | None = None, timeout: float = TIMEOUT) -> WorkerState | None:
    """The living driver or executor with this id, None if there is none."""
    return _first(listing.workers(timeout), "worker_id", id)


def get_objects(id: str, address: str | None = None, timeout: float = TIMEOUT) -> list[ObjectState]:
    """The object with this id, in a list; none if nobody but its owner knows of it."""
    return [x for x in listing.objects(timeout) if x.object_id == id]


def _first(records: list[listing.S], field: str, id: str) -> listing.S | None:
    return next((record for record in records if record[field] == id), None)


# -- sums --------------------------------------------------------------------------------


def summarize_actors(address: str | None = None, timeout: float = TIMEOUT) -> dict[str, Any]:
    """``{"cluster": {"summary": {class: {"state_counts": {state: number}}}, …}}``."""
    found = listing.actors(timeout)
    summary = _counts(found, lambda actor: actor.class_name, lambda actor: actor.state)
    return _cluster(summary, total_actors=len(found))


def summarize_tasks(address: str | None = None, timeout: float = TIMEOUT) -> dict[str, Any]:
    """``{"cluster": {"summary": {name: {"state_counts": {state: number}}}, …}}``."""
    found = listing.tasks(timeout)
    summary = _counts(found, lambda task: task.name, lambda task: task.state)
    return _cluster(summary, total_tasks=len(found))


def summarize_objects(address: str | None = None, timeout: float = TIMEOUT) -> dict[str, Any]:
    """Numbers of objects by what makes them, and their size in all, in bytes."""
    found = listing.objects(timeout)
    summary = _counts(found, lambda object: object.call_site, lambda object: object.task_status)
    size = sum(object.object_size for object in found)
    return _cluster(summary, total_objects=len(found), total_size=size)


def _counts(
    records: list[listing.S], name: Callable[[listing.S], str], state: Callable[[listing.S], str]
) -> dict[str, dict[str, dict[str, int]]]:
    summary: dict[str, dict[str, dict[str, int]]] = {}
    for record in records:
        counts = summary.setdefault(name(record), {"state_counts": {}})["state_counts"]
        counts[state(record)] = counts.get(state(record), 0) + 1
    return summary


def _cluster(summary: dict[str, Any], **totals: int) -> dict[str, Any]:
    return {"cluster": {"summary": summary, **totals}}
