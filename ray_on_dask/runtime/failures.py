"""Errors that an owner makes itself, as bytes: of tasks that could not be run to their end."""

from __future__ import annotations

from ray_on_dask.runtime.object_ref import Entry
from ray_on_dask.wire.messages import FREED


def of_argument(name: str, entry: Entry) -> bytes:
    """A task could not run because of this argument."""
    from ray_on_dask.error_serialization import dumps_error, loads_error
    from ray_on_dask.exceptions import ObjectFreedError, argument_error

    if entry.kind == FREED:
        cause: Exception = ObjectFreedError(entry.id.hex(), "", "")
    else:
        cause = loads_error(entry.data)
    return dumps_error(argument_error(name, cause))


def crashed(name: str, reason: str) -> bytes:
    """The process that ran the task died, and its retries are used up."""
    from ray_on_dask.error_serialization import dumps_error
    from ray_on_dask.exceptions import OutOfMemoryError, WorkerCrashedError

    if "out of memory" in reason:
        return dumps_error(OutOfMemoryError(f"Task {name} was killed: {reason}"))
    return dumps_error(WorkerCrashedError(f"The executor of task {name} died: {reason}."))


def cancelled(task: bytes) -> bytes:
    """The task was cancelled before it began."""
    from ray_on_dask.error_serialization import dumps_error
    from ray_on_dask.exceptions import TaskCancelledError
    from ray_on_dask.ids import TaskID

    return dumps_error(TaskCancelledError(TaskID.of(task)))


def actor_unavailable(actor: bytes, reason: str) -> bytes:
    """The actor's process died while it had the call; the actor starts again."""
    from ray_on_dask.error_serialization import dumps_error
    from ray_on_dask.exceptions import ActorUnavailableError

    return dumps_error(
        ActorUnavailableError(f"{reason or 'its process ended'}; it restarts", actor)
    )
