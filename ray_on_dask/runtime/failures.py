"""Errors at the owner of a task: what it makes itself are those of tasks not run to their end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ray_on_dask.ids import index_bytes
from ray_on_dask.wire.messages import ERROR, FREED, Result, Value

if TYPE_CHECKING:
    from ray_on_dask.core.lineage import Hopeless
    from ray_on_dask.runtime.object_ref import Entry
    from ray_on_dask.runtime.references import References

#: The error of a task counts as its result with this index, where refs in it are handed over.
ERROR_AT = 0x7FFF_FFFD


def of_result(references: References, result: Result) -> Value:
    """The error that a task has come to; it becomes that of all its results, if it has any."""
    value = result.values[0]
    if value.inner:
        references.taken.append(result.task + index_bytes(ERROR_AT))
    return value


def of_argument(name: str, entry: Entry) -> tuple[Value, list[Any]]:
    """A task could not run because of this argument; and the refs in that error, to be kept."""
    from ray_on_dask.error_serialization import dumps_error_and_refs

    data, refs = dumps_error_and_refs(_argument_error(name, entry))
    return Value(ERROR, data, None, [ref._entry.id for ref in refs]), refs


def of_init_argument(name: str, entry: Entry) -> bytes:
    """Likewise for an actor: the control store has the error, which holds no refs."""
    from ray_on_dask.error_serialization import dumps_error

    return dumps_error(_argument_error(name, entry))


def _argument_error(name: str, entry: Entry) -> Exception:
    from ray_on_dask.error_serialization import loads_error
    from ray_on_dask.exceptions import ObjectFreedError, argument_error

    if entry.kind == FREED:
        cause: Exception = ObjectFreedError(entry.id.hex(), "", "")
    else:
        cause = loads_error(entry.data)
    return argument_error(name, cause)


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


#: What stands in the way of making an object again, as `core.lineage` names it.
OBSTACLES = {
    "PUT": "was made by put(), or is a large argument that was given by value: there is no task "
    "that makes it. Return the value from a task instead",
    "LINEAGE_DISABLED": "was made while init(_enable_object_reconstruction=False) held",
    "RETRIES_DISABLED": "is of a task with max_retries=0 (of an actor's method: without "
    "max_task_retries)",
    "MAX_ATTEMPTS_EXCEEDED": "is of a task whose retries are used up. Give it more max_retries",
    "LINEAGE_EVICTED": "is of a task that its owner remembers no longer: {limit:,} bytes are kept "
    "of tasks, see lineage-memory in the configuration",
    "BORROWED": "belonged to another process, which nobody holds it by any more: keep a ref to it",
    "REF_NOT_FOUND": "is of a generator that failed before its end, or not known any more",
    "DASK_FUTURE_RELEASED": "is the value of a Dask future that was let go: for as long as anybody "
    "keeps the future, Dask computes the value again",
    "ACTOR_DIED": "is a result of an actor that is dead",
}


def not_made_again(id: bytes, name: str, hopeless: Hopeless, why: str, limit: int) -> bytes:
    """An object is lost, and its owner cannot make it again."""
    from ray_on_dask.error_serialization import dumps_error
    from ray_on_dask.exceptions import ObjectReconstructionFailedError

    obstacle = OBSTACLES[hopeless.reason].format(limit=limit)
    what = "It" if not hopeless.culprit else f"What it is made of, {hopeless.culprit.hex()},"
    text = f"It was made by {name}, and lost: {why}. {what} {obstacle}."
    return dumps_error(ObjectReconstructionFailedError(id.hex(), hopeless.reason, text))


def not_the_same(id: bytes, name: str) -> bytes:
    """A generator that ran again has made fewer values than the first time."""
    from ray_on_dask.error_serialization import dumps_error
    from ray_on_dask.exceptions import ObjectReconstructionFailedError

    text = f"{name} ran again to make it, and did not make it this time."
    return dumps_error(ObjectReconstructionFailedError(id.hex(), "NOT_THE_SAME", text))
