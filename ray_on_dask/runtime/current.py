"""The process's one session: who it is in the cluster, or that it is not in any."""

from __future__ import annotations

import os
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ray_on_dask.runtime.object_ref import Entry
    from ray_on_dask.runtime.process import Process

#: The session of this process; None before `init` and after `shutdown`.
process: Process | None = None
#: What runs programs serially in the driver (`local_mode`), None outside of that mode.
local: Any = None
#: The call that a thread of an actor's pool, or a coroutine of an actor, is in.
call: ContextVar[Any] = ContextVar("call", default=None)
#: Why there is none where one was, for the error message.
gone: str = ""
#: Members of sessions for Dask's tasks, where this is a Dask worker (`runtime.guest`).
guests: list[Process] = []


def require() -> Any:
    """The session's process, or what stands in for it in local mode; else `RaySystemError`."""
    if process is None:
        if local is not None:
            return local
        from ray_on_dask.exceptions import RaySystemError

        raise RaySystemError(gone or "Ray has not been started yet. Call ray_on_dask.init() first.")
    return process


def set_process(new: Process | None) -> None:
    """Make `new` this process's session."""
    global process, gone
    process = new
    gone = ""


def whose(entry: Entry) -> Process | None:
    """The member that an entry is of, where there may be several in one process."""
    for guest in guests:
        if guest.references.known.get(entry.id) is entry:
            return guest
    return process


def _after_fork() -> None:
    global process, gone
    guests.clear()
    if process is not None:
        gone = (
            f"This process ({os.getpid()}) was forked from one that uses ray_on_dask. A "
            "session does not survive a fork: use tasks, or start the process with 'spawn' "
            "and call ray_on_dask.init() in it."
        )
        process = None


os.register_at_fork(after_in_child=_after_fork)
