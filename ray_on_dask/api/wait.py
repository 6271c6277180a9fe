"""`wait`: which refs are ready."""

from __future__ import annotations

import warnings
from typing import Any

from ray_on_dask.api import session as sessions
from ray_on_dask.api.get import is_dask_future
from ray_on_dask.runtime.object_ref import ObjectRef

#: An int below this, as milliseconds, is probably meant as seconds.
SUSPICIOUS = 100
_ONLY_REFS = {ObjectRef}
_warned = False


def wait(
    object_refs: list[Any],
    num_returns: int = 1,
    timeout: float | None = None,
    worker: Any = None,
    *,
    fetch_local: bool = True,
) -> tuple[list[Any], list[Any]]:
    """Wait until some refs are ready.

    Parameters
    ----------
    object_refs : list of ObjectRef
        No ref twice; also generators of refs and Dask futures.
    num_returns : int
        How many to wait for. No more than these are given back as ready.
    timeout : float or int, optional
        A **float** is seconds, an **int** milliseconds, as in the documents of Ray's first years
        (`init(wait_timeout_unit=...)` settles it otherwise). 0 only looks. None waits on.
    fetch_local : bool
        Accepted; a ready object is read where it lies.
    worker
        Accepted as in the oldest API.

    Returns
    -------
    (list, list)
        The ready ones (failed ones are ready too) and all others, both in the order given.

    Raises
    ------
    TypeError
        For what is no list of refs.
    ValueError
        For duplicates, a negative timeout, and a `num_returns` that is below 1 or above the
        number of refs.
    """
    process = sessions.running_session() or sessions.local_session()
    if type(object_refs) is not list or not set(map(type, object_refs)) <= _ONLY_REFS:
        object_refs = _as_refs(object_refs, process)
    if len(set(object_refs)) != len(object_refs):
        raise ValueError("Wait requires a list of unique ray_waitables.")
    if not object_refs:
        return [], []
    if type(object_refs[0]) is ObjectRef:
        process.check_session(object_refs[0]._entry)
    if num_returns <= 0:
        raise ValueError(f"Invalid number of objects to return {num_returns}.")
    if num_returns > len(object_refs):
        raise ValueError(
            "num_returns cannot be greater than the number of ray_waitables provided to ray.wait."
        )
    seconds = None if timeout is None else _seconds(timeout, process)
    return process.getting.wait(object_refs, num_returns, seconds)


def _as_refs(given: Any, process: Any) -> list[Any]:
    from ray_on_dask.runtime.streams import ObjectRefGenerator

    if isinstance(given, ObjectRef):
        raise TypeError("wait() expected a list of ray.ObjectRef, got a single ray.ObjectRef")
    if not isinstance(given, list):
        raise TypeError(f"wait() expected a list of ray.ObjectRef, got {type(given)}")
    refs = []
    for ref in given:
        if isinstance(ref, ObjectRef | ObjectRefGenerator):
            refs.append(ref)
        elif is_dask_future(ref):
            refs.append(process.as_awaited_ref(ref))
        else:
            raise TypeError(
                f"wait() expected a list of ray.ObjectRef, got list containing {type(ref)}"
            )
    return refs


def _seconds(timeout: float, process: Any) -> float:
    if timeout < 0:
        raise ValueError(f"The 'timeout' argument must be nonnegative. Received {timeout}")
    if isinstance(timeout, int) and process.config.wait_milliseconds:
        if 0 < timeout < SUSPICIOUS:
            _warn(timeout)
        return timeout / 1000
    return timeout


def _warn(timeout: int) -> None:
    global _warned
    if not _warned:
        _warned = True
        warnings.warn(
            f"wait(timeout={timeout}) means {timeout} milliseconds, since it is an int. For "
            f"seconds write timeout={timeout}.0, or init(wait_timeout_unit='s').",
            stacklevel=4,
        )
