"""`error_info`: failures of this session, from the error log."""

from __future__ import annotations

from typing import Any

from ray_on_dask.api import session as sessions


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
        return sessions.local_session().errors()  # type: ignore[no-any-return]
    urls = session.asking.ask("redis")
    if not urls:
        return []
    from ray_on_dask.errorlog.log import ErrorLog

    log = ErrorLog(urls)
    try:
        return log.read(str(session.job))
    finally:
        log.close()


errors = error_info
