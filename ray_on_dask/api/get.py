"""`get`: the values of refs."""

from __future__ import annotations

from typing import Any

from ray_on_dask.api import session as sessions
from ray_on_dask.runtime import current
from ray_on_dask.runtime.object_ref import ObjectRef
from ray_on_dask.serialization import deserialize
from ray_on_dask.wire.messages import INLINE


def get(
    object_refs: Any, worker: Any = None, *, timeout: float | None = None,
    _use_object_store: bool = False,
) -> Any:  # fmt: skip
    """The value of a ref, or the list of values of a list of refs; waits for them.

    Parameters
    ----------
    object_refs : ObjectRef or list of ObjectRef
        Also Dask futures; a generator of refs is given back as it is.
    timeout : float, optional
        Seconds. 0 does not wait; None (and a negative number) waits for as long as it takes.
    worker
        Accepted as in the oldest API; there is one session a process.

    Returns
    -------
    object
        Arrays are read-only views of shared memory, all else is a copy of one's own.

    Raises
    ------
    RayTaskError
        What a task raised; it is an instance of the original exception's class too. With a
        list, as soon as any of them has failed.
    GetTimeoutError
        When `timeout` is over (a `TimeoutError`).
    ValueError, TypeError
        For what is no ref and no list of refs.

    Examples
    --------
    >>> import ray_on_dask as ray
    >>> ray.get([ray.put(i) for i in range(3)])
    [0, 1, 2]
    """
    if type(object_refs) is ObjectRef and worker is None:
        entry = object_refs._entry
        if entry.kind == INLINE:
            process = current.process
            if process is not None and entry.id.startswith(process.prefix):
                data = entry.data
                if entry.kind == INLINE:  # still: another thread may free or move it
                    return deserialize(data)
    if isinstance(worker, int | float):
        raise TypeError(f"get(refs, {worker!r}): give the timeout by name, timeout={worker!r}")
    process = sessions.running_session()
    if process is None:
        return sessions.local_session().get(object_refs, timeout)
    if timeout is not None and timeout < 0:
        timeout = None
    if type(object_refs) is ObjectRef:
        process.check_session(object_refs._entry)
        return process.getting.get_one(object_refs, timeout)
    if isinstance(object_refs, list):
        return process.getting.get_many(_checked(object_refs, process), timeout)
    return _other(object_refs, process, timeout)


def _checked(refs: list[Any], process: Any) -> list[Any]:
    for ref in refs:
        if type(ref) is not ObjectRef:
            return [_ref(ref, process) for ref in refs]
    if refs:
        process.check_session(refs[0]._entry)
    return refs


def _ref(value: Any, process: Any) -> Any:
    if isinstance(value, ObjectRef):
        return value
    if is_dask_future(value):
        return process.as_awaited_ref(value)
    raise TypeError(
        f"Attempting to call `get` on the value {value!r}, which is not an ray.ObjectRef. "
        "Pass an ObjectRef, or a list of them."
    )


def _other(value: Any, process: Any, timeout: float | None) -> Any:
    from ray_on_dask.runtime.streams import ObjectRefGenerator

    if isinstance(value, ObjectRefGenerator):
        return value
    if is_dask_future(value):
        return process.getting.get_one(process.as_awaited_ref(value), timeout)
    raise ValueError(
        f"Invalid type of object refs, {type(value)}, is given. 'object_refs' must either be an "
        "ObjectRef or a list of ObjectRefs."
    )


def is_dask_future(value: Any) -> bool:
    """Whether this is a `distributed.Future`; does not import distributed."""
    kind = type(value)
    return kind.__name__ == "Future" and kind.__module__.startswith("distributed")
