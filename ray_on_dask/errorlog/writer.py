"""A thread that writes to the error log, for those who must not wait."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Mapping
from typing import Any

from ray_on_dask.errorlog.log import ErrorLog

#: Records that may wait for the thread.
QUEUE = 10_000
_BATCH = 100


class Writer:
    """Owns an `ErrorLog` and a daemon thread.

    Parameters
    ----------
    log : ErrorLog
        Closed with the writer.
    interval : float
        Seconds between attempts to send what Redis has not taken.
    """

    def __init__(self, log: ErrorLog, interval: float = 0.5):
        self.log = log
        #: How many records were thrown away because the queue was full.
        self.dropped = 0
        self._interval = interval
        self._queue: queue.Queue[Mapping[str, Any] | None] = queue.Queue(QUEUE)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="error log", daemon=True)
        self._thread.start()

    def put(self, record: Mapping[str, Any]) -> bool:
        """Have `record` written soon; False if it was thrown away. Never blocks."""
        try:
            self._queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1
            return False
        return True

    def close(self, timeout: float = 2.0) -> None:
        """Write what is queued, as far as that goes within `timeout` seconds, and stop."""
        self._closed.set()
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(None)  # wakes the thread
        self._thread.join(timeout)

    def _run(self) -> None:
        while not (self._closed.is_set() and self._queue.empty()):
            batch = self._batch()
            if batch:
                self.log.extend(batch)
            else:
                self.log.flush()
        self.log.close()

    def _batch(self) -> list[Mapping[str, Any]]:
        """What is queued, up to a batch; waits for the first for `interval` seconds."""
        batch = []
        with contextlib.suppress(queue.Empty):
            batch.append(self._queue.get(timeout=self._interval))
            while len(batch) < _BATCH:
                batch.append(self._queue.get_nowait())
        return [record for record in batch if record is not None]
