"""`error_info`: failures of this session, from the error log."""

from __future__ import annotations

import time
from typing import Any

from ray_on_dask.api import session as sessions

#: Seconds for the error log to come up.
PATIENCE = 5.0


def error_info(worker: Any = None) -> list[dict[str, Any]]:
    """Failures of this driver's tasks, oldest first.

    Returns
    -------
    list of dict
        ``type`` ("task", …), ``message`` (with the remote traceback), ``data`` (which function),
        ``timestamp`` (seconds since 1970), ``job_id``. A failure is there about a second after
        it happened; [] if there is no error log (Redis is away).
    """
    session = sessions.running_session()
    if session is None:
        return sessions.local_session().errors()
    return read_log(str(session.job))


def read_log(job: str | None = None, limit: int = 1_000) -> list[dict[str, Any]]:
    """The newest failures of a job, or of all jobs of the cluster that this process has joined."""
    session = sessions.running_session()
    servers = session.asking.ask("redis")
    deadline = time.monotonic() + PATIENCE
    while servers["urls"] and not servers["ready"] and time.monotonic() < deadline:
        time.sleep(0.02)  # they come up a moment after the session, or when first asked for
        servers = session.asking.ask("redis")
    if not servers["urls"]:
        return []
    from ray_on_dask.errorlog.log import ErrorLog

    log = ErrorLog(servers["urls"])
    try:
        return log.read(job, limit)
    finally:
        log.close()


errors = error_info
