"""Failures that nobody has looked at when their last ref goes: logged then, as Ray 2 does.

Used by programs that import the package as `ray`; others are told of each failure at once.
"""

from __future__ import annotations

import logging
import os
from concurrent.futures import ThreadPoolExecutor

from ray_on_dask.runtime.object_ref import Entry

logger = logging.getLogger("ray_on_dask")


class Unhandled:
    """Knows the failed objects of this process that nobody has fetched (under its lock)."""

    def __init__(self) -> None:
        self._failed: set[bytes] = set()
        #: Exceptions are unpickled and logged there: never under the lock.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ray_on_dask-unhandled")
        self._silent = os.environ.get("RAY_IGNORE_UNHANDLED_ERRORS") == "1"

    def failed(self, entry: Entry) -> None:
        """An object of this process turns out to be an error: the end of its ref counts."""
        if not self._silent and entry.owned:
            entry.tracked = True
            self._failed.add(entry.id)

    def seen(self, entry: Entry) -> None:
        """Somebody gets the error."""
        self._failed.discard(entry.id)

    def gone(self, entry: Entry) -> None:
        """Its last ref is gone."""
        if entry.id in self._failed:
            self._failed.discard(entry.id)
            self._thread.submit(_report, entry.data)


def _report(data: bytes) -> None:
    from ray_on_dask.error_serialization import loads_error

    logger.error(
        "Unhandled error (suppress with 'RAY_IGNORE_UNHANDLED_ERRORS=1'): %s", loads_error(data)
    )
