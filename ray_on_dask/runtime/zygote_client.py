"""The node's end of its zygote: ask for processes, hear of their lives and deaths.

Nothing here blocks the node's loop: the zygote is started and reaped in a thread,
requests are queued when its socket is full.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import signal
import socket
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from ray_on_dask.runtime.within import within
from ray_on_dask.runtime.zygote_launcher import (
    ZygoteStart,
    ZygoteStarted,
    in_lasting_thread,
    line,
    reap,
)
from ray_on_dask.runtime.zygote_messages import (
    LONGEST_REPORT,
    LONGEST_REQUEST,
    Alive,
    Exited,
    Fork,
    Forked,
    Kill,
    Ready,
    Spawn,
    decode_report,
    encode,
)

logger = logging.getLogger(__name__)

#: Seconds that a zygote has for its own end before it is killed.
PATIENCE = 3.0
#: Seconds before a zygote is started again that died before it was ready; doubled each time.
FIRST_DELAY, LONGEST_DELAY = 0.1, 5.0


class ZygoteClient:
    """Starts processes for a node through a zygote, which it starts again if that dies.

    All methods are called, and all callbacks come, on one asyncio loop.

    Parameters
    ----------
    on_forked : callable
        `(name, pid, out_fd, err_fd)`: the process exists. The descriptors are the read
        ends of its stdout and stderr and the callback's to close; None if its output
        goes to a file.
    on_exited : callable
        `(name, pid, status)`: it is gone, with an exit code or minus a signal's number.
        Process id 0 and status 127 if it could not be made at all.
    on_lost : callable
        `()`: the zygote died, and with it every process that had been asked for, forked
        or not; no `on_exited` comes for these. New ones may be asked for at once.
    """

    def __init__(
        self,
        on_forked: Callable[[str, int, int | None, int | None], None],
        on_exited: Callable[[str, int, int], None],
        on_lost: Callable[[], None],
    ) -> None:
        self._on_forked, self._on_exited, self._on_lost = on_forked, on_exited, on_lost
        #: Set while a zygote is there that has its imports done.
        self.ready = asyncio.Event()
        self._how = ZygoteStart("", "")
        self._socket: socket.socket | None = None
        self._process: Future[subprocess.Popen[bytes]] | None = None
        self._start_later: Callable[[], None] | None = None
        self._waiting: deque[bytes] = deque()
        self._failures = 0
        self._closing = False
        self._gone = asyncio.Event()

    def start(self, how: ZygoteStart, started: ZygoteStarted | None = None) -> None:
        """Start the zygote, or take over one that is `started`; requests may follow at once."""
        self._how = how
        if started is None:
            self._connect(0.0)
        else:
            self._process = started.process
            self._listen(started.socket)

    @property
    def pid(self) -> int | None:
        """Process id of the zygote, None while there is none."""
        started = self._process
        if started is None or not started.done() or started.exception():
            return None
        return started.result().pid

    def fork(self, name: str, params: Mapping[str, Any]) -> None:
        """Have a child of the zygote call `params["entry"]` ("module:function") with `params`.

        Raises
        ------
        ValueError
            When `params` are longer than 128 kB in msgpack.
        ConnectionError
            When the client is closed.
        """
        self._send(encode(Fork(name, dict(params))))

    def spawn(
        self,
        name: str,
        command: Sequence[str],
        env: Mapping[str, str] | None = None,
        cwd: str = "",
        output: str = "",
    ) -> None:
        """Start a fresh program that dies with the zygote; raises as `fork` does.

        Parameters
        ----------
        env : mapping, optional
            Added to this process's environment.
        output : str
            File that stdout and stderr are appended to; "" for pipes to `on_forked`.
        """
        self._send(encode(Spawn(name, list(command), dict(env or {}), cwd, output)))

    def kill(self, pid: int, signal_number: int = signal.SIGKILL) -> None:
        """Signal a process that `on_forked` has named; nothing happens if it is gone."""
        if not self._closing:
            self._send(encode(Kill(pid, signal_number)))

    def alive(self, patience: float) -> None:
        """Say that this process lives; the zygote kills it if that is not said for so long."""
        if not self._closing:
            self._send(encode(Alive(patience)))

    async def close(self) -> None:
        """End the zygote, all processes, and the two directories; at most 3 s, then by force."""
        if self._socket is None or self._closing:
            return
        self._closing = True
        if self._start_later is not None:
            self._start_later()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        try:
            await within(PATIENCE, self._gone.wait())
        except asyncio.TimeoutError:
            self._disconnect()
        if self._process is not None:
            await asyncio.wrap_future(in_lasting_thread(reap, self._process, self._how.session_dir))

    # -- the connection --------------------------------------------------------------------

    def _connect(self, delay: float) -> None:
        """Make the socket pair now, so that requests wait in it, and start the zygote."""
        ours, theirs = line()
        self._listen(ours)
        timer = asyncio.get_running_loop().call_later(delay, self._launch, theirs)
        self._start_later = functools.partial(_call_off, timer, theirs)

    def _listen(self, ours: socket.socket) -> None:
        self._socket = ours
        asyncio.get_running_loop().add_reader(ours, self._readable, ours)

    def _launch(self, theirs: socket.socket) -> None:
        self._start_later = None
        previous, self._process = self._process, None
        self._process = self._how.launch(theirs, previous)

    def _disconnect(self) -> None:
        assert self._socket is not None
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._socket)
        loop.remove_writer(self._socket)
        self._socket.close()
        self._waiting.clear()

    def _lost(self) -> None:
        self._disconnect()
        if self._closing:
            self._gone.set()
            return
        self._failures = 0 if self.ready.is_set() else self._failures + 1
        self.ready.clear()
        logger.error("the zygote of %s died; starting another", self._how.session_dir)
        delay = FIRST_DELAY * 2**self._failures if self._failures else 0.0
        self._connect(min(delay, LONGEST_DELAY))
        _safely(self._on_lost)

    # -- messages ----------------------------------------------------------------------------

    def _send(self, packet: bytes) -> None:
        if self._closing or self._socket is None:
            raise ConnectionError("the zygote's client is not started, or closed")
        if len(packet) > LONGEST_REQUEST:
            raise ValueError(f"a request of {len(packet)} bytes is too long for the zygote")
        if self._waiting:
            self._waiting.append(packet)
        elif not self._sent(packet):
            self._waiting.append(packet)
            asyncio.get_running_loop().add_writer(self._socket, self._writable)

    def _sent(self, packet: bytes) -> bool:
        assert self._socket is not None
        try:
            self._socket.send(packet)
        except BlockingIOError:
            return False
        except OSError:
            return True  # the zygote is dead, as `_readable` is about to find
        return True

    def _writable(self) -> None:
        while self._waiting and self._sent(self._waiting[0]):
            self._waiting.popleft()
        if not self._waiting and self._socket is not None:
            asyncio.get_running_loop().remove_writer(self._socket)

    def _readable(self, ours: socket.socket) -> None:
        while ours is self._socket:
            try:
                packet, fds, _, _ = socket.recv_fds(
                    ours, LONGEST_REPORT, 2, socket.MSG_CMSG_CLOEXEC
                )
            except BlockingIOError:
                return
            except OSError:
                packet, fds = b"", []
            if not packet:
                return self._lost()
            self._take(decode_report(packet), fds)

    def _take(self, report: Ready | Forked | Exited, fds: list[int]) -> None:
        if isinstance(report, Ready):
            self.ready.set()
        elif isinstance(report, Exited):
            _safely(self._on_exited, report.name, report.pid, report.status)
        else:
            out, err = fds if fds else (None, None)
            _safely(self._on_forked, report.name, report.pid, out, err)


def _safely(callback: Callable[..., None], *args: object) -> None:
    try:
        callback(*args)
    except Exception:
        logger.exception("a callback of the zygote's client failed")


def _call_off(timer: asyncio.TimerHandle, theirs: socket.socket) -> None:
    timer.cancel()
    theirs.close()
