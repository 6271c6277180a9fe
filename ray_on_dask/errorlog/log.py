"""Errors in Redis: one list per job, the newest 10,000 of each.

If Redis goes away, records stay in a short backlog in memory and go to Redis
when it is back; what does not fit is lost, the oldest first. A record may be
there twice if the connection broke between its arrival and the answer.
"""

from __future__ import annotations

import functools
import json
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from ray_on_dask.errorlog.server import connection_options

#: Records kept per job.
PER_JOB = 10_000
#: Records kept in memory, per server, while Redis is away.
BACKLOG = 1_000
#: Characters kept of a message; the rest of it is cut out of the middle.
MESSAGE = 32_768
#: Seconds to the first attempt to reconnect, and at most between two.
_FIRST_DELAY, _LAST_DELAY = 0.1, 5.0
_BATCH = 100
_PREFIX = "ray_on_dask:errors:"

Record = dict[str, Any]


class ErrorLog:
    """The error log of a cluster. Safe to use from any thread.

    No method raises because of Redis; each may block for some seconds at the
    moment when Redis goes away. `Writer` is for those who must not block.

    Parameters
    ----------
    urls : sequence of str
        Of the Redis servers, the primary first. If there are others, errors
        go to those: each job's to one, found by the hash of its key.
    now : callable, optional
        A clock in seconds, for the attempts to reconnect.
    """

    def __init__(self, urls: Sequence[str], now: Callable[[], float] = time.monotonic):
        if not urls:
            raise ValueError("an error log needs a Redis server at least")
        self._servers = [_Server(url, now) for url in (urls[1:] or urls)]

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one record: `type`, `message`, `data`, `job_id` (str) and `timestamp` (float).

        What is missing is empty, or now; other keys are left out.
        """
        self.extend([record])

    def extend(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Add records in their order; quicker than one by one."""
        touched = []
        for record in map(_normal, records):
            server = self._server(record["job_id"])
            server.remember(record)
            touched.append(server)
        for server in dict.fromkeys(touched):
            server.flush()

    def read(self, job_id: str | None = None, limit: int = 1_000) -> list[Record]:
        """The newest `limit` records of one job or of all, the oldest of them first.

        While a server is away its records are missing, but for those of its backlog here.
        """
        servers = self._servers if job_id is None else [self._server(job_id)]
        found = [record for server in servers for record in server.read(job_id, limit)]
        found.sort(key=lambda record: record["timestamp"])
        return found[-limit:] if limit > 0 else []

    def flush(self) -> bool:
        """Try to send what waits here, unless it is too soon; whether nothing is left."""
        return all([server.flush() for server in self._servers])

    @property
    def backlog(self) -> int:
        """How many records wait for Redis here."""
        return sum(len(server.waiting) for server in self._servers)

    def close(self) -> None:
        """Close the connections; later calls open them anew."""
        for server in self._servers:
            server.close()

    def _server(self, job_id: str) -> _Server:
        return self._servers[zlib.crc32((_PREFIX + job_id).encode()) % len(self._servers)]


def _normal(record: Mapping[str, Any]) -> Record:
    texts = {key: str(record.get(key, "")) for key in ("type", "message", "data", "job_id")}
    if len(texts["message"]) > MESSAGE:
        half = MESSAGE // 2
        cut = len(texts["message"]) - 2 * half
        texts["message"] = (
            f"{texts['message'][:half]}\n... {cut} characters ...\n{texts['message'][-half:]}"
        )
    timestamp = record.get("timestamp")
    return {**texts, "timestamp": time.time() if timestamp is None else float(timestamp)}


class _Server:
    """One Redis server, with what it has not been given yet."""

    def __init__(self, url: str, now: Callable[[], float]):
        self._url = url
        self._now = now
        self._delay = 0.0
        self._retry_at = 0.0
        #: Held while talking to the server, so that records stay in order.
        self._lock = threading.Lock()
        self.waiting: deque[Record] = deque(maxlen=BACKLOG)

    @functools.cached_property
    def _client(self) -> Any:
        """Made for the first record: the library takes 6 MB, and most sessions have no errors."""
        import redis

        return redis.Redis.from_url(self._url, **connection_options())

    def remember(self, record: Record) -> None:
        self.waiting.append(record)

    def flush(self) -> bool:
        with self._lock:
            while self.waiting and self._now() >= self._retry_at:
                self._attempt()
            return not self.waiting

    def _attempt(self) -> None:
        """Send one batch, or wait longer before the next attempt."""
        from redis import RedisError

        batch = list(islice(self.waiting, _BATCH))
        try:
            self._send(batch)
        except (RedisError, OSError):
            self._delay = min(max(self._delay * 2, _FIRST_DELAY), _LAST_DELAY)
            self._retry_at = self._now() + self._delay
            return
        self._delay = 0.0
        self._forget(batch)

    def _forget(self, batch: list[Record]) -> None:
        sent = {id(record) for record in batch}
        # By identity: meanwhile others may have pushed records out at the left.
        while self.waiting and id(self.waiting[0]) in sent:
            self.waiting.popleft()

    def _send(self, batch: list[Record]) -> None:
        from redis.exceptions import OutOfMemoryError

        try:
            self._push(batch)
        except OutOfMemoryError:
            self._halve()
            self._push(batch)

    def _push(self, batch: list[Record]) -> None:
        with self._client.pipeline(transaction=True) as pipe:
            for record in batch:
                pipe.rpush(_PREFIX + record["job_id"], json.dumps(record))
            for job_id in {record["job_id"] for record in batch}:
                pipe.ltrim(_PREFIX + job_id, -PER_JOB, -1)
            pipe.execute()

    def _halve(self) -> None:
        """Make room in a full server: of each list the newer half stays."""
        for key in self._client.scan_iter(match=_PREFIX + "*", count=1_000):
            length = self._client.llen(key)
            self._client.ltrim(key, length // 2 + 1, -1)

    def read(self, job_id: str | None, limit: int) -> list[Record]:
        from redis import RedisError

        with self._lock:
            try:
                keys = [_PREFIX + job_id] if job_id is not None else self._keys()
                texts = [t for key in keys for t in self._client.lrange(key, -limit, -1)]
            except (RedisError, OSError):
                texts = []
            here = [r for r in list(self.waiting) if job_id is None or r["job_id"] == job_id]
        return [json.loads(text) for text in texts] + here

    def _keys(self) -> list[Any]:
        return list(dict.fromkeys(self._client.scan_iter(match=_PREFIX + "*", count=1_000)))

    def close(self) -> None:
        with self._lock:
            if "_client" in vars(self):
                self._client.close()
