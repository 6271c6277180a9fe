"""Messages that are to appear once, or from time to time."""

from __future__ import annotations

import time

#: Seconds after which a key may be logged again, once `enable_periodic_logging` was called.
PERIOD = 60.0
_logged: dict[str, float] = {}
_disabled = False
_periodic = False


def log_once(key: str) -> bool:
    """Whether something is to be logged now: True at the first call with a key in this process.

    Examples
    --------
    >>> from ray_on_dask.util import log_once
    >>> log_once("a warning"), log_once("a warning")
    (True, False)
    """
    if _disabled:
        return False
    now = time.monotonic()
    last = _logged.get(key)
    if last is None or (_periodic and now - last > PERIOD):
        _logged[key] = now
        return True
    return False


def disable_log_once_globally() -> None:
    """Have `log_once` say False from now on."""
    global _disabled
    _disabled = True


def enable_periodic_logging() -> None:
    """Have `log_once` say True again for a key after a minute."""
    global _periodic
    _periodic = True
