"""Tasks: those that have ended, those that run, and what this process itself has still to settle.

The control store does not hear of a task before it has ended. What runs is read from the executors'
status pages, some tenths of a second old; what waits is known to its owner alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ray_on_dask.core import task_records
from ray_on_dask.core.resources import as_floats
from ray_on_dask.runtime import current
from ray_on_dask.runtime.here import worker_id
from ray_on_dask.util.state.listing import ask
from ray_on_dask.util.state.records import TaskState
from ray_on_dask.util.state.sources import job_id

_WAITING = {
    task_records.WAITING: "PENDING_ARGS_AVAIL",
    task_records.QUEUED: "PENDING_NODE_ASSIGNMENT",
    task_records.ABOARD: "SUBMITTED_TO_WORKER",
}


def tasks(timeout: float) -> list[TaskState]:
    """What waits and what runs, then the latest runs that have ended, the newest first."""
    ended = ask("runs", timeout)
    seen = {public_id(run[4]) for run in ended}
    running = {task.task_id: task for task in _running(timeout) if task.task_id not in seen}
    own = {task.task_id: task for task in _own() if task.task_id not in {**running}}
    waiting = [task for id, task in own.items() if id not in seen]
    errors = {_task_of(error): error for error in ask("recent_errors", timeout)}
    return [*waiting, *running.values(), *(_ended(run, errors) for run in reversed(ended))]


def get(id: str, timeout: float) -> TaskState | None:
    """The latest run of a task, None if none is known; in the short or the long form."""
    return next((task for task in tasks(timeout) if task.task_id == public_id(id)), None)


def public_id(task: str) -> str:
    """The id of a task as `get_task_id` gives it, 48 hex digits, of the one that is used inside."""
    return task.ljust(48, "0")


def _ended(run: list[Any], errors: dict[str, Any]) -> TaskState:
    job, node, pid, name, task, start, stop, ok, process, actor = run
    error = None if ok else errors.get(task)
    return TaskState(
        task_id=public_id(task), attempt_number=0, name=name, state="FINISHED" if ok else "FAILED",
        job_id=job_id(job), actor_id=actor or None,
        type="ACTOR_TASK" if actor else "NORMAL_TASK", func_or_class_name=name, node_id=node,
        worker_id=worker_id(process) if process else None, worker_pid=pid,
        error_type=None if ok else "TASK_EXECUTION_EXCEPTION", language="PYTHON",
        start_time_ms=int(start * 1000), end_time_ms=int(stop * 1000),
        error_message=error["message"] if error else None,
    )  # fmt: skip


def _running(timeout: float) -> Iterator[TaskState]:
    known = {executor["name"]: executor for executor in ask("executors", timeout)}
    for node, figures in ask("figures", timeout).items():
        for process, (pid, _, name, task) in figures.get("executors", {}).items():
            executor = known.get(process)
            if not task or executor is None:
                continue
            actor = executor["actor"]
            yield TaskState(
                task_id=public_id(task), attempt_number=0, name=name, state="RUNNING",
                job_id=job_id(executor["job"]), actor_id=actor or None,
                type="ACTOR_TASK" if actor else "NORMAL_TASK", func_or_class_name=name,
                node_id=node, worker_id=worker_id(process), worker_pid=pid, language="PYTHON",
                required_resources=executor["holds"],
            )  # fmt: skip


def _own() -> Iterator[TaskState]:
    """Tasks of this process that are not settled (those of its actors are not among them)."""
    process = current.require()
    with process.lock:
        owned = list(process.submitting.tasks.tasks.values())
    for task in owned:
        classes = process.submitting.tasks.classes
        yield TaskState(
            task_id=public_id(task.task.id.hex()), attempt_number=task.task.attempt,
            name=task.task.name,
            state=_WAITING.get(task.state, "PENDING_NODE_ASSIGNMENT"), job_id=job_id(process.job),
            type="NORMAL_TASK", func_or_class_name=task.task.name, language="PYTHON",
            required_resources=as_floats(classes[task.key].spec.resources),
        )  # fmt: skip


def _task_of(error: dict[str, Any]) -> str:
    """The task that an error is of, in hex digits."""
    return str(error["data"]).rpartition("'task': '")[2].partition("'")[0]
