"""Frames: how messages lie in a stream of bytes.

A frame is four bytes of length, little-endian, and one encoded message. Several frames go out in
one write; a reader is fed whatever came and gives whole messages.
"""

from __future__ import annotations

from ray_on_dask.wire import messages as m
from ray_on_dask.wire.messages import Message, encode

#: Longest message that is believed. Anything larger is garbage, or belongs in the store.
FRAME_MAX = 1 << 30
#: Longest first message of a line: a process says who it is.
FIRST_MAX = 1 << 24


def decode(body: bytes | memoryview) -> Message:
    """The message that a frame holds; `ValueError` if it holds none."""
    try:
        return m.decode(body)
    except RecursionError as error:  # garbage too: nothing of ours is nested so deeply
        raise ValueError("a message nested without end") from error


def pack(message: object) -> bytes:
    """One message as a frame."""
    body = encode(message)
    return len(body).to_bytes(4, "little") + body


def pack_all(messages: list[object]) -> bytes:
    """Several messages, each as a frame, in one run of bytes."""
    out = bytearray()
    for message in messages:
        body = encode(message)
        out += len(body).to_bytes(4, "little")
        out += body
    return bytes(out)


class FrameReader:
    """Cuts a stream of bytes into messages.

    `feed` raises `ValueError` (or `msgspec.DecodeError`, which is one) on garbage; the stream is
    of no use afterwards.

    Parameters
    ----------
    first : int
        Longest first message that is believed: `FIRST_MAX` from whoever has not said yet who it is.
    """

    __slots__ = ("_limit", "_rest")

    def __init__(self, first: int = FRAME_MAX) -> None:
        self._rest = bytearray()
        self._limit = first

    def feed(self, data: bytes | memoryview) -> list[Message]:
        """The messages that are complete now."""
        rest = self._rest
        if not rest and len(data) == 4 + int.from_bytes(data[:4], "little"):  # as it is mostly
            self._limit = FRAME_MAX
            return [decode(data[4:])]
        if rest:
            rest += data
            with memoryview(rest) as view:
                messages, used = self._cut(view)
            del rest[:used]
            return messages
        messages, used = self._cut(data)
        if used < len(data):
            rest += data[used:]
        return messages

    def first(self, data: bytes | memoryview) -> tuple[Message | None, bytes]:
        """The first message alone, None if it is not complete yet; the bytes after it."""
        rest = self._rest
        rest += data
        size = int.from_bytes(rest[:4], "little")
        if len(rest) >= 4 and size > FIRST_MAX:
            raise ValueError(f"first frame of {size} bytes")
        if len(rest) < 4 + size or len(rest) < 4:
            return None, b""
        message, after = decode(bytes(rest[4 : 4 + size])), bytes(rest[4 + size :])
        rest.clear()
        return message, after

    def _cut(self, data: bytes | memoryview) -> tuple[list[Message], int]:
        messages: list[Message] = []
        at, end = 0, len(data)
        while end - at >= 4:
            stop = at + 4 + int.from_bytes(data[at : at + 4], "little")
            if stop > end:
                if stop - at > (FRAME_MAX if messages else self._limit):
                    raise ValueError(f"frame of {stop - at - 4} bytes")
                break
            messages.append(decode(data[at + 4 : stop]))
            at = stop
        if messages:
            self._limit = FRAME_MAX
        return messages, at
