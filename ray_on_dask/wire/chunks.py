"""Chunks: byte strings of any kind in a stream of bytes, each after four bytes of length."""

from __future__ import annotations

#: Longest chunk that is believed.
CHUNK_MAX = 1 << 30


def chunk(body: bytes) -> bytes:
    """A byte string as it goes into the stream."""
    return len(body).to_bytes(4, "little") + body


class Chunks:
    """Cuts a stream into what was put in."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = bytearray()

    @property
    def idle(self) -> bool:
        """Whether no chunk has begun."""
        return not self._rest

    def feed(self, data: memoryview) -> list[bytes]:
        """The chunks that are complete now; `ValueError` for one that is longer than any."""
        rest = self._rest
        if not rest:
            out, used = _cut(data)
            rest += data[used:]
            return out
        rest += data
        if len(rest) < 4 or len(rest) < 4 + _length(rest, 0):
            return []
        with memoryview(rest) as view:
            out, used = _cut(view)
        del rest[:used]
        return out


def _length(data: memoryview | bytearray, at: int) -> int:
    size = int.from_bytes(data[at : at + 4], "little")
    if size > CHUNK_MAX:
        raise ValueError(f"a chunk of {size} bytes")
    return size


def _cut(data: memoryview) -> tuple[list[bytes], int]:
    out: list[bytes] = []
    at, end = 0, len(data)
    while end - at >= 4:
        stop = at + 4 + _length(data, at)
        if stop > end:
            break
        out.append(bytes(data[at + 4 : stop]))
        at = stop
    return out, at
