"""A line to one other process over a Unix socket: messages out now, messages in by the reactor."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ray_on_dask.wire.frames import FrameReader, pack, pack_all
from ray_on_dask.wire.messages import Message

if TYPE_CHECKING:
    from ray_on_dask.wire.reactor import Reactor

#: Bytes read at a time.
CHUNK = 1 << 18


def listen(path: str, backlog: int = 512) -> socket.socket:
    """A listening Unix socket at `path`, usable by this user alone."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    sock.bind(path)
    os.chmod(path, 0o600)
    sock.listen(backlog)
    sock.setblocking(False)
    return sock


def connect(path: str, timeout: float = 10.0) -> socket.socket:
    """A socket connected to `path`; `OSError` if nobody listens there."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.settimeout(timeout)
        sock.connect(path)
    except BaseException:
        sock.close()
        raise
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, 1 << 20)
    sock.setblocking(False)
    return sock


def peer_is_ours(sock: socket.socket) -> bool:
    """Whether the process at the other end runs as this user (or as root)."""
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _pid, uid, _gid = struct.unpack("3i", raw)
    return uid in (os.geteuid(), 0)


class Channel:
    """One connection, served by a `Reactor`.

    Parameters
    ----------
    sock : socket.socket
        Connected, non-blocking.
    reactor : Reactor
        Who reads it.
    on_messages : callable
        ``on_messages(channel, [messages])``, in the thread that leads the reactor.
    on_close : callable
        ``on_close(channel)``, once, when the line is down for whatever reason.

    Notes
    -----
    `send` may be called from any thread and never blocks: what the socket does not take is kept
    and goes out when it does.
    """

    __slots__ = (
        "_lock", "_out", "closed", "fd", "on_close", "on_messages", "peer", "reactor",
        "reader", "sock", "state", "state_actor",
    )  # fmt: skip

    def __init__(
        self,
        sock: socket.socket,
        reactor: Reactor,
        on_messages: Callable[[Channel, list[Message]], None],
        on_close: Callable[[Channel], None],
    ):
        self.sock = sock
        self.fd = sock.fileno()
        self.reactor = reactor
        self.on_messages = on_messages
        self.on_close = on_close
        self.reader = FrameReader()
        #: Name of the process at the other end, once known.
        self.peer = ""
        #: For the user of the channel.
        self.state: Any = None
        self.state_actor: Any = None
        self.closed = False
        self._out: deque[memoryview] = deque()
        self._lock = threading.Lock()
        reactor.add(self)

    def send(self, message: object) -> None:
        """Send one message; dropped without a word if the line is down (`on_close` has told)."""
        self.send_bytes(pack(message))

    def send_all(self, messages: list[object]) -> None:
        """Send several messages in one write."""
        if messages:
            self.send_bytes(pack_all(messages))

    def send_bytes(self, data: bytes) -> None:
        """Send frames that are packed already."""
        with self._lock:
            if self.closed:
                return
            if not self._out:
                try:
                    sent = self.sock.send(data)
                except (BlockingIOError, InterruptedError):
                    sent = 0
                except OSError:
                    self.reactor.drop_soon(self)
                    return
                if sent == len(data):
                    return
                self.reactor.want_write(self, True)
                self._out.append(memoryview(data)[sent:])
            else:
                self._out.append(memoryview(data))

    def on_writable(self) -> None:
        """The socket takes more."""
        with self._lock:
            while self._out and not self.closed:
                data = self._out[0]
                try:
                    sent = self.sock.send(data)
                except (BlockingIOError, InterruptedError):
                    return
                except OSError:
                    self._out.clear()
                    self.reactor.drop_soon(self)
                    return
                if sent == len(data):
                    self._out.popleft()
                else:
                    self._out[0] = data[sent:]
            if not self.closed:
                self.reactor.want_write(self, False)

    def flush(self, timeout: float) -> bool:
        """Wait until all is written (before an exit); False if it could not be within `timeout`."""
        import select

        poll = select.poll()
        poll.register(self.fd, select.POLLOUT)
        while self._out and not self.closed:
            if not poll.poll(timeout * 1000):
                return False
            self.on_writable()
        return not self._out

    def read_rest(self) -> None:
        """Handle what has come already: the line is about to be closed.

        For the thread that leads the reactor.
        """
        while not self.closed:
            try:
                data = self.sock.recv(CHUNK)
                messages = self.reader.feed(data)
            except (OSError, ValueError):
                return
            if not data:
                return
            if messages:
                self.on_messages(self, messages)

    def close(self) -> None:
        """Close the line; `on_close` is not called."""
        with self._lock:
            if self.closed:
                return
            self.closed = True
            self._out.clear()
        self.reactor.remove(self)
        self.sock.close()
