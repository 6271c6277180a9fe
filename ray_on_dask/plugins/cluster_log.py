"""The cluster's error log: Redis servers of its own, or given ones. Nobody ever waits for it.

Addresses and password are chosen when it is made, so that drivers can be told at once; the servers
come up in a thread a moment later, and are started again if they die.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import socket
import threading
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ray_on_dask.errorlog import server
from ray_on_dask.errorlog.address import set_address, set_address_at, url_of
from ray_on_dask.errorlog.log import ErrorLog
from ray_on_dask.errorlog.writer import Writer
from ray_on_dask.exceptions import RaySystemError

logger = logging.getLogger("ray_on_dask")

#: Seconds until servers of our own are started: a session's first moments are for its tasks.
DELAY = 0.5
#: Seconds between two looks at the servers, and at most between two attempts to start one.
LOOK, LONGEST_PAUSE = 0.5, 10.0
#: Records kept until there is a writer.
EARLY = 1_000


class ClusterLog:
    """Where errors go.

    Parameters
    ----------
    url : str
        Given servers, separated by commas, the primary first: ``"host:port"`` or URLs. "" to
        start some.
    shards : int
        How many servers to start beside the primary.
    host : str
        Address that they listen on.
    port : int
        Of the primary, 0 for any that is free.
    """

    def __init__(self, url: str = "", shards: int = 0, host: str = "127.0.0.1", port: int = 0):
        self.servers: list[server.Shard] = []
        self._ports: list[socket.socket] = []
        if url:
            self.urls = [url_of(one.strip()) for one in url.split(",")]
        else:
            password = secrets.token_urlsafe(32)
            ports = [port, *[0] * shards]
            self._ports = [server.reserve_port(host, number) for number in ports]
            for holder in self._ports:
                self.servers.append(server.Shard(host, holder.getsockname()[1], password))
            self.urls = [shard.url for shard in self.servers]
        #: Whether what is put here reaches a server.
        self.ready = False
        self._writer: Writer | None = None
        self._early: deque[Mapping[str, Any]] = deque(maxlen=EARLY)
        self._lock = threading.Lock()
        self._directories: Any = None
        self._thread: threading.Thread | None = None
        self._now = threading.Event()
        self._closed = threading.Event()

    @property
    def address(self) -> str:
        """``host:port`` of the primary server, "" if there is no log."""
        if not self.urls:
            return ""
        parts = urlsplit(self.urls[0])
        return f"{parts.hostname}:{parts.port or 6379}"

    def start(self, scheduler: str, directory: str = "", delay: float = DELAY) -> None:
        """Come up in the background.

        Parameters
        ----------
        scheduler : str
            The scheduler's address, for ``init(redis_address=…)``.
        directory : str
            Where the servers have their files; "" for one that is made for them.
        """
        self._thread = threading.Thread(
            target=self._run, args=(scheduler, directory, delay), name="ray_on_dask-log",
            daemon=True,
        )  # fmt: skip
        self._thread.start()

    def hurry(self) -> None:
        """Somebody wants to read: start now."""
        self._now.set()

    def put(self, record: Mapping[str, Any]) -> None:
        """Have a record written soon; never blocks."""
        with self._lock:
            if self._writer is None:
                self._early.append(record)
            else:
                self._writer.put(record)
        self._now.set()

    def close(self) -> None:
        """End the servers that are ours; what is queued for given ones is written first."""
        self._closed.set()
        self._now.set()
        with self._lock:
            writer, self._writer = self._writer, None
        if writer is not None:
            writer.close(0.0 if self.servers else 2.0)
        if self._thread is not None:
            self._thread.join(2.0)
        else:
            self._end()

    # -- in the thread ---------------------------------------------------------------------

    def _run(self, scheduler: str, directory: str, delay: float) -> None:
        self._now.wait(delay)
        try:
            if not self._closed.is_set():
                self._keep_up(self._prepare(directory) if self.servers else "", scheduler)
        except (RaySystemError, OSError) as error:
            logger.warning("No error log: %s", error)
            self.urls = []
        finally:
            self._end()

    def _keep_up(self, executable: str, scheduler: str) -> None:
        pause = LOOK
        while not self._closed.is_set():
            try:
                self._look(executable, scheduler)
                pause = LOOK if self.servers else LONGEST_PAUSE
            except (RaySystemError, OSError) as error:
                logger.warning("The error log is away: %s", error)
                pause = min(2 * pause, LONGEST_PAUSE)
            self._closed.wait(pause)

    def _end(self) -> None:
        while self._ports:
            self._ports.pop().close()
        for shard in self.servers:
            if shard.proc is not None:
                with contextlib.suppress(ProcessLookupError):
                    shard.proc.kill()
        if self._directories is not None:
            self._directories.remove()

    def _prepare(self, directory: str) -> str:
        executable = server.find_redis_server()
        if not directory:
            from ray_on_dask.runtime.directories import NodeDirectories

            name = f"redis-{secrets.token_hex(4)}"
            self._directories = NodeDirectories.create(None, None, name)
            directory = self._directories.session_dir
        for number, shard in enumerate(self.servers):
            shard.directory = Path(directory) / f"redis-{number}"
        return executable

    def _look(self, executable: str, scheduler: str) -> None:
        """Start the servers that are not there; an error tells why one cannot be."""
        missing = [x for x in self.servers if x.proc is None or x.proc.poll() is not None]
        for shard in missing:
            shard.proc = None
            server.launch(executable, shard)
            if self._closed.is_set():
                return
        while self._ports:
            self._ports.pop().close()
        if missing or not self.servers or not self.ready:
            if self.servers:
                set_address_at(self.servers[0], scheduler)
            else:
                set_address(self.urls[0], scheduler)
            self._begin_writing()

    def _begin_writing(self) -> None:
        with self._lock:
            if self._writer is None and not self._closed.is_set():
                self._writer = Writer(ErrorLog(self.urls))
                while self._early:
                    self._writer.put(self._early.popleft())
        self.ready = True


def given_url() -> str:
    """The Redis servers that this process's environment names, "" for none."""
    return os.environ.get("RAY_ON_DASK_REDIS", "")
