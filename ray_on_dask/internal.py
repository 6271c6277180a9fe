"""`internal.free`, of the 1.x API."""

from __future__ import annotations

from typing import Any

from ray_on_dask.api import session as sessions


def free(object_refs: Any, local_only: bool = False) -> None:
    """Free the values of refs now, whoever holds them; `get` raises `ObjectFreedError` then.

    Parameters
    ----------
    object_refs : ObjectRef or list of ObjectRef
    local_only : bool
        Accepted; a value has one copy.
    """
    refs = object_refs if isinstance(object_refs, list) else [object_refs]
    session = sessions.running_session()
    if session is not None:
        session.references.free(refs)
        session.send_out()
