"""`cancel`: stop a task."""

from __future__ import annotations

from typing import Any

from ray_on_dask.api import session as sessions
from ray_on_dask.runtime.object_ref import ObjectRef


def cancel(ray_waitable: Any, *, force: bool = False, recursive: bool = True) -> None:
    """Cancel the task or actor call that makes a ref's value; `get` of it raises then.

    Parameters
    ----------
    ray_waitable : ObjectRef or ObjectRefGenerator
    force : bool
        Kill the process that runs the task. A task that runs is else interrupted as by Ctrl-C.
    recursive : bool
        Cancel the tasks that it has launched too.

    Raises
    ------
    TypeError
        For what is no ref.
    ValueError
        For ``force=True`` with an actor's call.

    Notes
    -----
    Nothing happens when the task is over. A call that a (not asynchronous) actor runs is not
    interrupted: `get_runtime_context().is_canceled()` tells it.
    """
    from ray_on_dask.runtime.actor_calls import Call
    from ray_on_dask.runtime.streams import ObjectRefGenerator

    process = sessions.running_session()
    if not isinstance(ray_waitable, ObjectRef | ObjectRefGenerator):
        raise TypeError(f"ray.cancel() only supported for object refs. Got: {type(ray_waitable)}.")
    if process is None:
        return
    entry = ray_waitable._entry
    try:
        process.check_session(entry)
    except ValueError as error:
        raise TypeError(f"ray.cancel() of a ref that is none of this session's: {error}") from None
    if isinstance(ray_waitable, ObjectRefGenerator):
        entry = ray_waitable._stream.completed_ref._entry
    if isinstance(entry.data, Call) and force:
        raise ValueError("force=True is not supported for actor tasks.")
    process.submitting.cancel(entry, force, recursive)
