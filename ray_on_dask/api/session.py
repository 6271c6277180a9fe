"""The session that calls belong to; begun by the first of them if `init` was not called."""

from __future__ import annotations

from typing import Any

from ray_on_dask.runtime import current

#: What runs programs serially in the driver (`local_mode`), None outside of that mode.
local: Any = None


def running_session() -> Any:
    """This process's session, started now if there is none; None in local mode."""
    process = current.process
    if process is not None:
        return process
    if local is not None:
        return None
    if current.gone:
        current.require()
    from ray_on_dask.api.init import init

    init(ignore_reinit_error=True)  # another thread may begin it at the same time
    return current.process


def local_session() -> Any:
    """What runs programs serially."""
    return local


def set_local(session: Any) -> None:
    """Enter or leave local mode."""
    global local
    if local is not None:
        local.close()
    current.local = local = session


def started() -> bool:
    """Whether there is a session, of either kind."""
    return current.process is not None or local is not None
