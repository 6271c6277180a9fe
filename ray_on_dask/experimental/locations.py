"""Where objects are, as far as it is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ray_on_dask.runtime import current
from ray_on_dask.runtime.object_ref import Entry, ObjectRef
from ray_on_dask.wire.messages import ERROR, FREED, PENDING, STORED


def get_object_locations(
    obj_refs: Sequence[ObjectRef[Any]], timeout_ms: int = -1
) -> dict[ObjectRef[Any], dict[str, Any]]:
    """Where the objects are; waits for no task, only for what the cluster knows of a ref.

    Parameters
    ----------
    obj_refs : sequence of ObjectRef
    timeout_ms : int
        Milliseconds to wait for word of refs that other processes own; negative: for 10 s.
        What is not known by then counts as not made yet.

    Returns
    -------
    dict
        {ref: {"node_ids": list of str, "object_size": int or None, "did_spill": False}}.
        Small objects are in no node's store (`node_ids` is []); the size is bytes, None while
        nothing is known of the object.

    Raises
    ------
    RaySystemError
        Before `init`.
    TypeError
        If one of them is not a ref.
    """
    process = current.require()
    entries = [_entry(ref) for ref in obj_refs]
    borrowed = [entry for entry in entries if entry.kind == PENDING and not entry.owned]
    if borrowed:
        seconds = 10.0 if timeout_ms < 0 else timeout_ms / 1000
        process.getting.block_for(borrowed, len(borrowed), seconds)
    return {ref: _location(entry) for ref, entry in zip(obj_refs, entries, strict=True)}


def get_local_object_locations(
    obj_refs: Sequence[ObjectRef[Any]],
) -> dict[ObjectRef[Any], dict[str, Any]]:
    """As `get_object_locations`, from what this process knows itself; asks nobody."""
    current.require()
    return {ref: _location(_entry(ref)) for ref in obj_refs}


def _entry(ref: Any) -> Entry:
    if not isinstance(ref, ObjectRef):
        raise TypeError(f"obj_refs: a list of ObjectRefs is expected, with {ref!r} in it")
    return ref._entry


def _location(entry: Entry) -> dict[str, Any]:
    nodes: list[str] = []
    size: int | None = None
    if entry.kind == STORED:
        nodes, size = [entry.data.node], entry.data.size
    elif entry.kind not in (PENDING, ERROR, FREED):
        size = len(entry.data)
    return {"node_ids": nodes, "object_size": size, "did_spill": False}
