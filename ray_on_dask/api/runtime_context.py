"""`get_runtime_context`: what code can know of where it runs."""

from __future__ import annotations

import json
import os
import warnings
from typing import TYPE_CHECKING, Any

from ray_on_dask.api import session as sessions
from ray_on_dask.ids import ActorID, JobID, NodeID, PlacementGroupID, TaskID
from ray_on_dask.runtime import current
from ray_on_dask.runtime.here import Here, here

if TYPE_CHECKING:
    from ray_on_dask.api.actor_handle import ActorHandle

#: Kinds of accelerators, as `get_accelerator_ids` lists them.
_FAMILIES = ("GPU", "TPU", "neuron_cores", "HPU", "NPU", "RBLN", "FURIOSA", "MBLT", "TTNPU")


def get_runtime_context() -> RuntimeContext:
    """What the calling code can know of its job, node, process, task and actor.

    Begins a session if there is none.

    Examples
    --------
    >>> import ray_on_dask as ray
    >>> len(ray.get_runtime_context().get_node_id())
    56
    """
    sessions.running_session()
    return _CONTEXT


class RuntimeContext:
    """Tells where the code that asks runs, at the moment at which it asks."""

    # -- ids ---------------------------------------------------------------------------

    def get_job_id(self) -> str:
        """The job's id, 8 hex digits."""
        return JobID.from_int(here().job).hex()

    def get_node_id(self) -> str:
        """The node's id, 56 hex digits."""
        return here().node

    def get_worker_id(self) -> str:
        """The process's id, 56 hex digits."""
        return here().worker

    def get_task_id(self) -> str | None:
        """The running task's id in hex digits; None in a driver."""
        task = here().task
        return TaskID.of(task).hex() if task else None

    def get_task_name(self) -> str | None:
        """The running task's ``name`` option, or the function's name; None in a driver."""
        return here().task_name or None

    def get_task_function_name(self) -> str | None:
        """Module and name of the running function or method; None in a driver."""
        return here().function_name or None

    def get_actor_id(self) -> str | None:
        """The actor's id, 32 hex digits; None outside of actors."""
        return here().actor.hex() or None

    def get_actor_name(self) -> str | None:
        """The actor's name, "" if it has none; None outside of actors."""
        found = here()
        return found.actor_name if found.actor else None

    def get_placement_group_id(self) -> str | None:
        """The placement group that the task or actor is in, 36 hex digits, or None."""
        return here().placement_group.hex() or None

    # -- resources -----------------------------------------------------------------------

    def get_assigned_resources(self) -> dict[str, float]:
        """What the task or actor holds, {name: quantity}.

        Raises
        ------
        AssertionError
            In a driver.
        """
        return dict(_worker("get_assigned_resources").resources or {})

    def get_accelerator_ids(self) -> dict[str, list[str]]:
        """Ids of the accelerators that the task or actor may use, by kind ("GPU", …)."""
        gpus = here().gpus or []
        return {family: list(map(str, gpus)) if family == "GPU" else [] for family in _FAMILIES}

    def get_resource_ids(self) -> dict[str, list[str]]:
        """Deprecated: `get_accelerator_ids`."""
        _deprecated("get_resource_ids()", "get_accelerator_ids()")
        return self.get_accelerator_ids()

    # -- surroundings ----------------------------------------------------------------------

    @property
    def namespace(self) -> str:
        """The namespace in which names of actors are looked up."""
        return here().namespace

    @property
    def gcs_address(self) -> str:
        """``host:port`` of the scheduler."""
        return str(_session()["scheduler_address"]).rpartition("://")[2]

    def get_session_name(self) -> str:
        """The session's name, ``session_…``; the same in all its processes."""
        return str(_session()["session_name"])

    def get_temp_dir(self) -> str:
        """The directory, on this host, in which sessions have their directories."""
        process = current.require()
        return os.path.dirname(os.path.dirname(process.hub_path))

    def get_node_labels(self) -> dict[str, str]:
        """The labels of the node."""
        name = here().node
        labels: dict[str, str] = {"ray.io/node-id": name}
        for node in current.require().asking.ask("nodes"):
            if node["name"] == name:
                labels.update(node["labels"])
        return labels

    def get_runtime_env_string(self) -> str:
        """The runtime environment as JSON; ``"{}"`` if there is none."""
        return here().runtime_env or "{}"

    @property
    def runtime_env(self) -> dict[str, Any]:
        """The runtime environment; {} if there is none."""
        found: dict[str, Any] = json.loads(self.get_runtime_env_string())
        return found

    @property
    def should_capture_child_tasks_in_placement_group(self) -> bool:
        """Whether what this task launches goes into its placement group."""
        return here().captures

    # -- the task, the actor -------------------------------------------------------------------

    def is_canceled(self) -> bool:
        """Whether somebody has cancelled the running task or call.

        Raises
        ------
        RuntimeError
            In a driver, and in asynchronous actors (their calls get `asyncio.CancelledError`).
        """
        found = here()
        if not found.is_worker:
            raise RuntimeError("is_canceled() is of use in tasks and actors only, not in a driver")
        if found.is_async:
            raise RuntimeError("This method is not supported in an async actor.")
        return found.is_canceled

    @property
    def current_actor(self) -> ActorHandle:
        """A handle of the actor that this is; it does not keep the actor alive.

        Raises
        ------
        RuntimeError
            Outside of actors.
        """
        if not here().actor:
            raise RuntimeError("This method is only available in an actor.")
        return _own_handle()

    @property
    def was_current_actor_reconstructed(self) -> bool:
        """Whether the actor that this is has been restarted; False in tasks.

        Raises
        ------
        AssertionError
            In a driver.
        """
        return _worker("was_current_actor_reconstructed").restarts > 0

    # -- deprecated -------------------------------------------------------------------------------

    @property
    def job_id(self) -> JobID:
        """Deprecated: `get_job_id`."""
        _deprecated("job_id", "get_job_id()")
        return JobID.from_int(here().job)

    @property
    def node_id(self) -> NodeID:
        """Deprecated: `get_node_id`."""
        _deprecated("node_id", "get_node_id()")
        return NodeID.from_hex(here().node)

    @property
    def task_id(self) -> TaskID:
        """Deprecated: `get_task_id`. `AssertionError` in a driver."""
        _deprecated("task_id", "get_task_id()")
        return TaskID.of(_worker("task_id").task)

    @property
    def actor_id(self) -> ActorID | None:
        """Deprecated: `get_actor_id`. `AssertionError` in a driver."""
        _deprecated("actor_id", "get_actor_id()")
        id = _worker("actor_id").actor
        return ActorID(id) if id else None

    @property
    def current_placement_group_id(self) -> PlacementGroupID:
        """Deprecated: `get_placement_group_id`; the nil id outside of placement groups."""
        _deprecated("current_placement_group_id", "get_placement_group_id()")
        id = here().placement_group
        return PlacementGroupID(id) if id else PlacementGroupID.nil()

    def get(self) -> dict[str, Any]:
        """Deprecated: ids of job, node, task and actor, and the namespace, in a dict."""
        _deprecated("get()", "the methods get_job_id(), get_task_id(), …")
        found = here()
        facts: dict[str, Any] = {
            "job_id": JobID.from_int(found.job), "node_id": NodeID.from_hex(found.node),
            "namespace": found.namespace,
        }  # fmt: skip
        if found.task:
            facts["task_id"] = TaskID.of(found.task)
        if found.actor:
            facts["actor_id"] = ActorID(found.actor)
        return facts


_CONTEXT = RuntimeContext()


def _worker(what: str) -> Here:
    found = here()
    assert found.is_worker, f"{what} is of use in tasks and actors only, not in a driver"
    return found


def _deprecated(old: str, new: str) -> None:
    warnings.warn(
        f"RuntimeContext.{old} is deprecated: use {new}", DeprecationWarning, stacklevel=3
    )


def _session() -> dict[str, Any]:
    """Facts about the session: a driver was told them when it joined."""
    process = current.require()
    facts: dict[str, Any] = getattr(process, "session_facts", None) or process.asking.ask("session")
    return facts


def _own_handle() -> ActorHandle:
    process: Any = current.process
    if process is None:
        return sessions.local_session().own_handle()
    from ray_on_dask.api.actor_handle import ActorHandle, Methods, facts_of

    spec = process.host.spec
    methods = Methods.unpickle(spec.methods)
    return ActorHandle(spec.id, spec.class_name, methods, facts_of(spec), None)
