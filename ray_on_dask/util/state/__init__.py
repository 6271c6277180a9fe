"""What there is in a cluster: nodes, actors, tasks, objects, …, as lists of records.

All `list_…` functions take `filters`, a list of ``(field, "=", value)`` (or ``!=``, ``<``, ``<=``,
``>``, ``>=``), `limit`, `timeout` in seconds, and `detail`: without it, those fields are None that
cost more. `address`, `raise_on_missing_output` and `_explain` are accepted and of no effect: the
session of the calling process answers, and no answer is in part.

Not recorded, and so not here: waiting tasks of other processes than the one that asks, and of very
many short tasks all but a sample; how a driver ended; objects that never left their owner. The
fields of each record are in `ray_on_dask.util.state.records`.

>>> import ray_on_dask as ray
>>> from ray_on_dask.util.state import list_actors
>>> alive = list_actors(filters=[("state", "=", "ALIVE")])
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ray_on_dask.util.state import events, sources, submissions, task_sources
from ray_on_dask.util.state.listing import (
    Filter,
    RayStateApiException,
    S,
    ServerUnavailable,
    select,
)
from ray_on_dask.util.state.logs import get_log, list_logs
from ray_on_dask.util.state.records import (
    ActorState,
    ClusterEventState,
    JobState,
    NodeState,
    ObjectState,
    PlacementGroupState,
    RuntimeEnvState,
    TaskState,
    WorkerState,
)
from ray_on_dask.util.state.summaries import (
    TIMEOUT,
    summarize_actors,
    summarize_objects,
    summarize_tasks,
)

__all__ = [
    "RayStateApiException", "ServerUnavailable", "StateApiClient", "get_actor", "get_job",
    "get_log", "get_node", "get_objects", "get_placement_group", "get_task", "get_worker",
    "list_actors", "list_cluster_events", "list_jobs", "list_logs", "list_nodes", "list_objects",
    "list_placement_groups", "list_runtime_envs", "list_tasks", "list_workers",
    "summarize_actors", "summarize_objects", "summarize_tasks",
]  # fmt: skip

Filters = Iterable[Filter] | None


def __getattr__(name: str) -> Any:
    if name == "StateApiClient":
        from ray_on_dask.util.state.client import StateApiClient

        return StateApiClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def list_nodes(
    address: str | None = None, filters: Filters = None, limit: int = 100,
    timeout: float = TIMEOUT, detail: bool = False, **_: Any,
) -> list[NodeState]:  # fmt: skip
    """The nodes, those that are gone too."""
    return select(sources.nodes(timeout), NodeState, filters, limit, detail)


def list_actors(
    address: str | None = None, filters: Filters = None, limit: int = 100,
    timeout: float = TIMEOUT, detail: bool = False, **_: Any,
) -> list[ActorState]:  # fmt: skip
    """The actors, the latest dead ones too."""
    return select(sources.actors(timeout), ActorState, filters, limit, detail)


def list_tasks(
    address: str | None = None, filters: Filters = None, limit: int = 100,
    timeout: float = TIMEOUT, detail: bool = False, **_: Any,
) -> list[TaskState]:  # fmt: skip
    """Tasks and calls that run or have ended, the newest first; of this process's own also those
    that wait.
    """
    return select(task_sources.tasks(timeout), TaskState, filters, limit, detail)


def list_jobs(
    address: str | None = None, filters: Filters = None, limit: int = 100,
    timeout: float = TIMEOUT, detail: bool = False, **_: Any,
) -> list[JobState]:  # fmt: skip
    """The sessions of drivers, those that have ended too, and submitted jobs."""
    return select(submissions.jobs(timeout), JobState, filters, limit, detail)


def list_placement_groups(
    address: str | None = None, filters: Filters = None, limit: int = 100,
    timeout: float = TIMEOUT, detail: bool = False, **_: Any,
) -> list[PlacementGroupState]:  # fmt: skip
    """The placement groups, the latest removed ones too."""
    return select(sources.placement_groups(timeout), PlacementGroupState, filters, limit, detail)


def list_workers(
    address: str | None = None, filters: Filters = None, limit: int = 100,
    timeout: float = TIMEOUT, detail: bool = False, **_: Any,
) -> list[WorkerState]:  # fmt: skip
    """Drivers and executors: those that live, and the latest that are gone."""
    return select(sources.workers(timeout), WorkerState, filters, limit, detail)


def list_objects(
    address: str | None = None, filters: Filters = None, limit: int = 100,
    timeout: float = TIMEOUT, detail: bool = False, **_: Any,
) -> list[ObjectState]:  # fmt: skip
    """Objects of which others than their owners know."""
    return select(sources.objects(timeout), ObjectState, filters, limit, detail)


def list_runtime_envs(
    address: str | None = None, filters: Filters = None, limit: int = 100,
    timeout: float = TIMEOUT, detail: bool = False, **_: Any,
) -> list[RuntimeEnvState]:  # fmt: skip
    """Runtime environments that are in use."""
    return select(sources.runtime_envs(timeout), RuntimeEnvState, filters, limit, detail)


def list_cluster_events(
    address: str | None = None, filters: Filters = None, limit: int = 100,
    timeout: float = TIMEOUT, detail: bool = False, **_: Any,
) -> list[ClusterEventState]:  # fmt: skip
    """What has happened: nodes, jobs, actors and workers that came or went, the newest first."""
    return select(events.cluster_events(timeout), ClusterEventState, filters, limit, detail)


# -- one ---------------------------------------------------------------------------------


def get_node(
    id: str, address: str | None = None, timeout: float = TIMEOUT, _explain: bool = False
) -> NodeState | None:
    """The node with this id, None if there was none."""
    return _first(sources.nodes(timeout), "node_id", id)


def get_actor(
    id: str, address: str | None = None, timeout: float = TIMEOUT, _explain: bool = False
) -> ActorState | None:
    """The actor with this id, None if there was none."""
    return _first(sources.actors(timeout), "actor_id", id)


def get_placement_group(
    id: str, address: str | None = None, timeout: float = TIMEOUT, _explain: bool = False
) -> PlacementGroupState | None:
    """The placement group with this id, None if there was none."""
    return _first(sources.placement_groups(timeout), "placement_group_id", id)


def get_worker(
    id: str, address: str | None = None, timeout: float = TIMEOUT, _explain: bool = False
) -> WorkerState | None:
    """The driver or executor with this id, None if none is known."""
    return _first(sources.workers(timeout), "worker_id", id)


def get_task(
    id: str, address: str | None = None, timeout: float = TIMEOUT, _explain: bool = False
) -> TaskState | None:
    """The latest run of the task with this id, None if none is known."""
    return task_sources.get(id, timeout)


def get_job(
    id: str, address: str | None = None, timeout: float = TIMEOUT, _explain: bool = False
) -> JobState | None:
    """The job with this id, of a driver or of a submission; None if there was none."""
    found = submissions.jobs(timeout)
    return _first(found, "job_id", id) or _first(found, "submission_id", id)


def get_objects(
    id: str, address: str | None = None, timeout: float = TIMEOUT, _explain: bool = False
) -> list[ObjectState]:
    """The object with this id, in a list; none if nobody but its owner knows of it."""
    return [x for x in sources.objects(timeout) if x.object_id == id]


def _first(records: list[S], field: str, id: str) -> S | None:
    return next((record for record in records if record[field] == id), None)
