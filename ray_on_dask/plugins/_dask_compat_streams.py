"""What is not public of the streams under Dask's TCP and TLS comms: a part of `_dask_compat`.

A comm that has been established may be used below Dask's messages, by both ends or by neither:
the socket, its credentials and its encryption are the ones that Dask has made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

#: Bytes read at once of what Tornado has already taken in.
_ALL = 1 << 20


def stream_of(comm: Any) -> Any:
    """The Tornado stream of a TCP or TLS comm; None for comms of other kinds."""
    from tornado.iostream import IOStream

    stream = getattr(comm, "stream", None)
    return stream if isinstance(stream, IOStream) else None


def is_plain(stream: Any) -> bool:
    """Whether bytes go over the socket as they are."""
    from tornado.iostream import SSLIOStream

    return not isinstance(stream, SSLIOStream)


async def take_over(
    stream: Any, on_events: Callable[[Any, int], None], on_close: Callable[[], None]
) -> bytes:
    """Have `on_events` called in Tornado's place: what it has read of the stream already.

    Whoever closes the stream, or its comm, ends that as well; then `on_close` is called.
    """
    while stream.writing():
        await stream.write(b"")
    read = b""
    while stream._read_buffer_size:
        read += await stream.read_bytes(_ALL, partial=True)
    if stream.closed():
        raise ConnectionError("the stream is closed")
    loop = stream.io_loop
    stream.set_close_callback(on_close)
    loop.remove_handler(stream.socket)
    loop.add_handler(stream.socket, on_events, loop.READ)
    stream._state = loop.READ  # so that closing removes the handler
    return read


def watch_writable(stream: Any, wanted: bool) -> None:
    """Have events tell when the socket takes more, or no longer."""
    if not stream.closed():
        loop = stream.io_loop
        loop.update_handler(stream.socket, loop.READ | (loop.WRITE if wanted else 0))


def happened(stream: Any, events: int) -> tuple[bool, bool]:
    """Whether events say that there is something to read, and that the socket takes more."""
    loop = stream.io_loop
    return bool(events & (loop.READ | loop.ERROR)), bool(events & loop.WRITE)
