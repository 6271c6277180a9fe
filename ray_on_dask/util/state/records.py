"""One record for each thing that there is in a cluster, as `list_*` and `get_*` give them.

A field is read as an attribute or as an item: ``actor.state``, ``actor["state"]``. Names are Ray's;
*detail* fields are None unless ``detail=True``, and times are milliseconds since 1970. The last
fields of some records, after "Not recorded", are there because Ray has them, and always None.
"""

# ruff: noqa: RUF009  (`plain` and `detail` make fields, as `field` does)
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from typing import Any


def detail(filterable: bool = True) -> Any:
    """A field that is None unless asked for."""
    return field(default=None, metadata={"detail": True, "filterable": filterable})


def plain(default: Any = None, filterable: bool = True) -> Any:
    """A field that is always there."""
    return field(default=default, metadata={"detail": False, "filterable": filterable})


@dataclass(kw_only=True)
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

    @classmethod
    def columns(cls, **wanted: bool) -> list[str]:
        """Fields with this metadata: ``detail=`` or ``filterable=``."""
        return [x.name for x in fields(cls)
                if all(x.metadata.get(key) is value for key, value in wanted.items())]  # fmt: skip

    def asdict(self) -> dict[str, Any]:
        """The record as a dict."""
        return asdict(self)


@dataclass(kw_only=True)
class NodeState(State):
    """A node: one Dask worker."""

    node_id: str = plain()
    node_ip: str = plain()
    is_head_node: bool = plain()
    #: "ALIVE" or "DEAD".
    state: str = plain()
    state_message: str | None = plain(filterable=False)
    node_name: str = plain()
    resources_total: dict[str, float] = plain(filterable=False)
    labels: dict[str, str] = plain(filterable=False)
    start_time_ms: int | None = detail()
    end_time_ms: int | None = detail()


@dataclass(kw_only=True)
class ActorState(State):
    """An actor. Dead ones are kept for a while."""

    actor_id: str = plain()
    class_name: str = plain()
    #: "PENDING_CREATION", "ALIVE", "RESTARTING", "DEAD".
    state: str = plain()
    job_id: str = plain()
    name: str | None = plain()
    node_id: str | None = plain()
    pid: int | None = plain()
    ray_namespace: str | None = plain()
    serialized_runtime_env: str | None = detail(filterable=False)
    required_resources: dict[str, float] | None = detail(filterable=False)
    #: ``{"reason": …}``, None while it is not dead.
    death_cause: dict[str, Any] | None = detail(filterable=False)
    is_detached: bool | None = detail()
    placement_group_id: str | None = detail()
    repr_name: str | None = detail()
    num_restarts: int | None = detail()
    start_time_ms: int | None = detail()
    end_time_ms: int | None = detail()
    #: Calls: done (failed ones too), failed, queued. Not in Ray.
    calls_done: int | None = detail()
    calls_failed: int | None = detail()
    calls_pending: int | None = detail()
    # -- Not recorded.
    num_restarts_due_to_lineage_reconstruction: int | None = detail(filterable=False)
    num_restarts_due_to_node_preemption: int | None = detail(filterable=False)
    call_site: str | None = detail(filterable=False)
    label_selector: dict[str, str] | None = detail(filterable=False)
    fallback_strategy: list[Any] | None = detail(filterable=False)


@dataclass(kw_only=True)
class TaskState(State):
    """One run of a task or of an actor's method."""

    task_id: str = plain()
    attempt_number: int | None = plain()
    name: str = plain()
    #: "FINISHED", "FAILED", "RUNNING"; of the calling process's own tasks also those that wait:
    #: "PENDING_ARGS_AVAIL", "PENDING_NODE_ASSIGNMENT", "SUBMITTED_TO_WORKER".
    state: str = plain()
    job_id: str = plain()
    actor_id: str | None = plain()
    #: "NORMAL_TASK" or "ACTOR_TASK".
    type: str = plain()
    func_or_class_name: str = plain()
    #: Not known: None.
    parent_task_id: str | None = plain()
    node_id: str | None = plain()
    worker_id: str | None = plain()
    worker_pid: int | None = plain()
    #: "TASK_EXECUTION_EXCEPTION" of one that has raised.
    error_type: str | None = plain()
    language: str | None = detail()
    required_resources: dict[str, float] | None = detail(filterable=False)
    start_time_ms: int | None = detail()
    end_time_ms: int | None = detail()
    error_message: str | None = detail(filterable=False)
    # -- Not recorded.
    creation_time_ms: int | None = detail(filterable=False)
    placement_group_id: str | None = detail()
    runtime_env_info: dict[str, Any] | None = detail(filterable=False)
    events: list[dict[str, Any]] | None = detail(filterable=False)
    profiling_data: dict[str, Any] | None = detail(filterable=False)
    task_log_info: dict[str, Any] | None = detail(filterable=False)
    is_debugger_paused: bool | None = detail()
    call_site: str | None = detail(filterable=False)
    label_selector: dict[str, str] | None = detail(filterable=False)
    fallback_strategy: list[Any] | None = detail(filterable=False)


@dataclass(kw_only=True)
class JobState(State):
    """A driver's session, or a job that was submitted."""

    job_id: str | None = plain()
    submission_id: str | None = plain()
    entrypoint: str = plain()
    #: "DRIVER" or "SUBMISSION".
    type: str = plain("DRIVER")
    #: "RUNNING", …; "SUCCEEDED" of any driver that has ended: how is not recorded.
    status: str = plain()
    message: str | None = plain()
    error_type: str | None = plain()
    #: ``id``, ``node_ip_address``, ``pid``, ``node_id`` of the driver.
    driver_info: dict[str, Any] | None = plain(filterable=False)
    start_time: int | None = detail()
    end_time: int | None = detail()
    metadata: dict[str, str] | None = detail(filterable=False)
    runtime_env: dict[str, Any] | None = detail(filterable=False)
    driver_node_id: str | None = detail()
    driver_exit_code: int | None = detail()
    ray_namespace: str | None = detail()
    # -- Not recorded.
    driver_agent_http_address: str | None = detail(filterable=False)


@dataclass(kw_only=True)
class PlacementGroupState(State):
    """A placement group. Removed ones are kept for a while."""

    placement_group_id: str = plain()
    name: str = plain()
    creator_job_id: str = plain()
    #: "PENDING", "CREATED", "RESCHEDULING", "REMOVED".
    state: str = plain()
    #: `bundle_id`, `unit_resources` and `node_id` of each.
    bundles: list[dict[str, Any]] | None = detail(filterable=False)
    is_detached: bool | None = detail()
    stats: dict[str, Any] | None = detail(filterable=False)
    # -- Not recorded.
    topology_strategy: dict[str, Any] | None = detail(filterable=False)
    topology_assignments: dict[str, Any] | None = detail(filterable=False)


@dataclass(kw_only=True)
class WorkerState(State):
    """A driver or executor; the latest of those that are gone, too."""

    worker_id: str = plain()
    is_alive: bool = plain()
    #: "DRIVER" or "WORKER".
    worker_type: str = plain()
    #: "SYSTEM_ERROR", "USER_ERROR" or "INTENDED_USER_EXIT"; None of one that lives.
    exit_type: str | None = plain()
    node_id: str = plain()
    ip: str = plain()
    pid: int = plain()
    exit_detail: str | None = detail(filterable=False)
    end_time_ms: int | None = detail()
    job_id: str | None = detail()
    # -- Not recorded.
    worker_launch_time_ms: int | None = detail(filterable=False)
    worker_launched_time_ms: int | None = detail(filterable=False)
    start_time_ms: int | None = detail(filterable=False)
    debugger_port: int | None = detail()
    num_paused_threads: int | None = detail()


@dataclass(kw_only=True)
class ObjectState(State):
    """An object of which others than its owner know."""

    object_id: str = plain()
    #: Bytes.
    object_size: int = plain()
    #: "FINISHED" once there is a value, else "PENDING".
    task_status: str = plain()
    attempt_number: int | None = plain()
    #: "LOCAL_REFERENCE", "CAPTURED_IN_OBJECT", "ACTOR_HANDLE" or "UNKNOWN_STATUS".
    reference_type: str = plain()
    #: The function that makes it, "put" for a put, "actor" for what stands for an actor.
    call_site: str = plain()
    #: "DRIVER" or "WORKER": who owns it.
    type: str = plain()
    pid: int = plain()
    ip: str = plain()
    owner: str | None = detail()
    node_id: str | None = detail()
    #: Refs to it: {process: their number}. Not in Ray.
    holders: dict[str, int] | None = detail(filterable=False)


@dataclass(kw_only=True)
class RuntimeEnvState(State):
    """A runtime environment that is in use on a node."""

    runtime_env: dict[str, Any] = plain()
    success: bool = plain(True)
    creation_time_ms: float | None = plain(filterable=False)
    node_id: str = plain()
    ref_cnt: int | None = detail(filterable=False)
    error: str | None = detail()


@dataclass(kw_only=True)
class ClusterEventState(State):
    """Something that has happened in the cluster."""

    #: "INFO", "WARNING" or "ERROR".
    severity: str = plain()
    time: str = plain(filterable=False)
    #: "NODE", "JOB", "ACTOR" or "WORKER".
    source_type: str = plain()
    message: str = plain(filterable=False)
    event_id: str = plain()
    custom_fields: dict[str, Any] | None = detail(filterable=False)
