"""Where some code runs: the process, its node and job, and the task or actor call that it is in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ray_on_dask.core.resources import as_floats, group_of, plain_names
from ray_on_dask.runtime import current, job_environment

#: Bytes in the id of a worker.
_WORKER_ID_SIZE = 28


@dataclass
class Here:
    """What `get_runtime_context` tells."""

    job: int
    #: Hex digits.
    node: str
    worker: str
    namespace: str
    #: JSON, "" for none.
    runtime_env: str = ""
    #: Whether a task or an actor runs here; a driver else.
    is_worker: bool = False
    #: Of the running task or call, b"" and "" if there is none.
    task: bytes = b""
    task_name: str = ""
    function_name: str = ""
    is_canceled: bool = False
    #: What it holds, {name: quantity}.
    resources: dict[str, float] | None = None
    gpus: list[int | str] | None = None
    placement_group: bytes = b""
    captures: bool = False
    #: Of the actor, b"" and "" if this is none.
    actor: bytes = b""
    actor_name: str = ""
    is_async: bool = False
    restarts: int = 0


def worker_id(process: str) -> str:
    """The id of a worker, 56 hex digits, of the name of its process."""
    return bytes.fromhex(process).ljust(_WORKER_ID_SIZE, b"\xff").hex()


def here() -> Here:
    """Where the caller is; `RaySystemError` if it is in no session."""
    process = current.require()
    if process is current.local:
        return process.here()
    config = process.config
    found = Here(
        process.job, process.node, worker_id(process.name), config.namespace, config.runtime_env
    )
    if process.kind == "executor":
        _add_task(found, process)
    return found


def _add_task(found: Here, executor: Any) -> None:
    found.is_worker = True
    host = executor.host
    task = current.call.get() or executor.running
    lease = executor.served.leases.get(executor.running_lease)
    resources: dict[str, int] = {}
    if task is not None:
        found.task, found.task_name = task.id, task.name
        found.function_name = executor.functions.name(task.function)
        found.is_canceled = task.id in executor.interrupts.cancelled
        found.placement_group, found.captures = task.placement_group, bool(task.placement_group)
    if host is not None:
        resources = host.spec.lifetime
        _add_actor(found, host, task)
    elif lease is not None:
        resources = lease.spec.resources
        found.runtime_env = lease.spec.runtime_env or found.runtime_env
    found.gpus = job_environment.gpu_ids()
    found.resources = _assigned(found, resources)


def _add_actor(found: Here, host: Any, task: Any) -> None:
    spec = host.spec
    found.actor, found.actor_name = spec.id, spec.name
    found.is_async, found.restarts = spec.is_async, host.incarnation
    found.runtime_env = spec.runtime_env or found.runtime_env
    found.placement_group = spec.placement_group or found.placement_group
    found.captures = spec.captures
    cls = type(host.instance)
    if task is not None:
        method = task.method or "__init__"
        found.function_name = f"{cls.__module__}.{cls.__qualname__}.{method}"
        if not task.method:
            found.task_name = f"{spec.class_name}.__init__"


def _assigned(found: Here, resources: dict[str, int]) -> dict[str, float]:
    """Resources under their plain names; those of a placement group tell which it is."""
    group = group_of(resources)
    found.placement_group = found.placement_group or bytes.fromhex(group)
    return as_floats(plain_names(resources))
