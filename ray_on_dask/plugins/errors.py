"""Errors that the control store makes, as bytes."""

from __future__ import annotations

from typing import Any

from ray_on_dask import exceptions
from ray_on_dask.error_serialization import dumps_error, loads_error


def make_error(kind: str, facts: dict[str, Any]) -> bytes:
    """A pickled exception of class `kind`, made of what is known about it."""
    text = facts.get("message") or ""
    if kind in ("OwnerDiedError", "ObjectLostError", "ObjectFreedError"):
        error: Exception = getattr(exceptions, kind)(
            facts.get("id", ""), facts.get("owner", ""), "", text
        )
    elif kind == "ActorDiedError":
        cause = loads_error(facts["cause"]) if facts.get("cause") else None
        if not isinstance(cause, exceptions.RayTaskError):
            error = exceptions.ActorDiedError(text, facts.get("actor_id"))
        else:
            error = exceptions.ActorDiedError.from_task_error(cause, facts.get("actor_id"))
    elif kind == "ActorUnavailableError":
        error = exceptions.ActorUnavailableError(text, facts.get("actor_id"))
    else:
        error = getattr(exceptions, kind, exceptions.RaySystemError)(text)
    return dumps_error(error)
