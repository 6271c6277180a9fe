"""`put`: a value into the object store."""

from __future__ import annotations

from typing import Any

from ray_on_dask.api import session as sessions
from ray_on_dask.runtime import current
from ray_on_dask.runtime.object_ref import ObjectRef


def put(
    value: Any, worker: Any = None, *, _owner: Any = None, _tensor_transport: Any = None
) -> ObjectRef[Any]:
    """Store a copy of a value; it cannot be changed afterwards.

    Parameters
    ----------
    value : object
        Anything that can be pickled; refs inside it stay refs.
    worker
        Accepted as in the oldest API; there is one session a process.

    Returns
    -------
    ObjectRef

    Raises
    ------
    TypeError
        For a ref, and for a value that cannot be pickled (the text says what in it cannot).
    ObjectStoreFullError
        When there is no room for it in shared memory.

    Examples
    --------
    >>> import ray_on_dask as ray
    >>> ray.get(ray.put("example"))
    'example'
    """
    process = current.process
    if process is None:
        process = sessions.running_session()
        if process is None:
            return sessions.local_session().put(value)
    if isinstance(value, ObjectRef):
        raise TypeError(
            "Calling 'put' on an ray.ObjectRef is not allowed. If you really want to, wrap the "
            "ObjectRef in a list and call 'put' on that."
        )
    if _owner is not None or _tensor_transport is not None:
        raise ValueError("put(_owner=...) and put(_tensor_transport=...) are not supported")
    return process.storing.put(value)
