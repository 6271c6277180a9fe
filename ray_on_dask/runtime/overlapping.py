"""Whose child a task or call is, where an actor is in several calls at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ray_on_dask.runtime import current

if TYPE_CHECKING:
    from ray_on_dask.runtime.process import Process


def note_parents(process: Process) -> None:
    """From now on, what is submitted here is the child of the call that its thread or task is in.

    Elsewhere the parent is the one task that the main thread runs, and finding it out costs
    nothing; so this looks at the context only in the actors that need it.
    """
    for holder, name in ((process.submitting, "_start"), (process.calling, "_enqueue")):
        setattr(holder, name, _noting(getattr(holder, name)))


def _noting(submit: Any) -> Any:
    def noting(child: Any) -> Any:
        call = current.call.get()
        if call is not None and not child.parent:
            child.parent = call.id
        return submit(child)

    return noting
