"""One record for each thing that there is in a cluster, as `list_*` and `get_*` give them.

A field is read as an attribute or as an item: ``actor.state``, ``actor["state"]``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from typing import Any


@dataclass
class State:
    """What all records have in common."""

    def __getitem__(self, name: str) -> Any:
        if name not in self.field_names():
            raise KeyError(name)
        return getattr(self, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.field_names())

    def get(self, name: str, default: Any = None) -> Any:
        """A field, `default` if there is none of that name."""
        return getattr(self, name) if name in self.field_names() else default

    @classmethod
    def field_names(cls) -> list[str]:
        """The names of the fields."""
        return [field.name for field in fields(cls)]

    def asdict(self) -> dict[str, Any]:
        """The record as a dict."""
        return asdict(self)


@dataclass
class NodeState(State):
    """A node: one Dask worker. Times are milliseconds since 1970, 0 for none."""

    node_id: str
    node_ip: str
    is_head_node: bool
    #: "ALIVE" or "DEAD".
    state: str
    state_message: str
    node_name: str
    resources_total: dict[str, float]
    labels: dict[str, str]
    start_time_ms: int = 0
    end_time_ms: int = 0


@dataclass
class ActorState(State):
    """An actor. Dead ones are kept for a while."""

    actor_id: str
    class_name: str
    #: "PENDING_CREATION", "ALIVE", "RESTARTING", "DEAD".
    state: str
    job_id: str
    name: str
    node_id: str
    pid: int
    ray_namespace: str
    required_resources: dict[str, float]
    death_cause: str
    is_detached: bool
    num_restarts: int
    start_time_ms: int = 0
    end_time_ms: int = 0


@dataclass
class TaskState(State):
    """One run of a task that has ended."""

    task_id: str
    name: str
    #: "FINISHED" or "FAILED".
    state: str
    job_id: str
    node_id: str
    worker_pid: int
    start_time_ms: int
    end_time_ms: int


@dataclass
class JobState(State):
    """A driver's session."""

    job_id: str
    #: "RUNNING" or "SUCCEEDED": how a driver ended is not recorded.
    status: str
    entrypoint: str
    start_time: int
    end_time: int
    driver_pid: int
    driver_node_id: str
    ray_namespace: str
    type: str = "DRIVER"


@dataclass
class PlacementGroupState(State):
    """A placement group. Removed ones are kept for a while."""

    placement_group_id: str
    name: str
    creator_job_id: str
    #: "PENDING", "CREATED", "RESCHEDULING", "REMOVED".
    state: str
    #: `bundle_id`, `unit_resources` and `node_id` of each.
    bundles: list[dict[str, Any]]
    is_detached: bool
    stats: dict[str, Any] = field(default_factory=dict)


@dataclass
class WorkerState(State):
    """A living driver or executor."""

    worker_id: str
    is_alive: bool
    #: "DRIVER" or "WORKER".
    worker_type: str
    node_id: str
    pid: int
    job_id: str
    exit_type: str | None = None
    exit_detail: str | None = None


@dataclass
class ObjectState(State):
    """An object of which others than its owner know."""

    object_id: str
    object_size: int
    #: "FINISHED" once there is a value, else "PENDING".
    task_status: str
    #: The function that makes it, "put" for a put.
    call_site: str
    owner: str
    node_id: str
    #: Refs to it: {process: their number}.
    holders: dict[str, int]
