"""`internal.free`, of the 1.x API, and `memory_summary`: what keeps objects alive."""

from __future__ import annotations

from typing import Any

from ray_on_dask.api import session as sessions
from ray_on_dask.runtime.object_ref import ObjectRef


def free(object_refs: Any, local_only: bool = False) -> None:
    """Free the values of refs now, whoever holds them; `get` raises `ObjectFreedError` then.

    Arrays that somebody has got of a value before keep their bytes: that space comes
    back with them.

    Parameters
    ----------
    object_refs : ObjectRef or list of ObjectRef
        Values that are not there yet, and errors, stay.
    local_only : bool
        Accepted; copies on other nodes go as well.

    Raises
    ------
    TypeError
        For anything else than refs.
    """
    refs = object_refs if isinstance(object_refs, list) else [object_refs]
    for ref in refs:
        if not isinstance(ref, ObjectRef):
            raise TypeError(f"free takes an ObjectRef or a list of them, not {type(ref)}")
    session = sessions.running_session()
    if session is not None:
        from ray_on_dask.runtime import freeing

        freeing.free(session, refs)


def memory_summary(
    address: str | None = None, group_by: str = "NODE_ADDRESS", sort_by: str = "OBJECT_SIZE",
    units: str = "B", stats_only: bool = False, num_entries: int | None = None,
) -> str:  # fmt: skip
    """Which objects processes share and who holds them, as ``ray-on-dask memory`` prints it.

    Objects that never left their owner are not in it: nobody else keeps them.

    Parameters
    ----------
    address : optional
        Accepted; the session of the calling process answers.
    group_by : str
        "NODE_ADDRESS" or "STACK_TRACE" (the function that makes the object).
    sort_by : str
        "OBJECT_SIZE", "PID" or "REFERENCE_TYPE".
    units : str
        "B", "KB", "MB" or "GB".
    stats_only : bool
        Sums alone.
    num_entries : int, optional
        At most so many of a group.
    """
    from ray_on_dask.api import memory_listing

    found = memory_listing.rows()
    return memory_listing.text(found, group_by, sort_by, units, stats_only, num_entries)
