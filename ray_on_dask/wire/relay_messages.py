"""What travels between two nodes on their one link: lines of processes, side by side.

A *line* is a connection between an owner and an executor of another host. Its bytes are carried
unopened: the owner's node reads them from a Unix socket, the executor's node writes them to
one, and the other way round. All lines of a pair of nodes share a *link*, a Dask comm. The
records on a link are numbered, so that a link that breaks is made anew without loss.
"""

from __future__ import annotations

from typing import Union

import msgspec


class Relay(msgspec.Struct, frozen=True, array_like=True, tag=110):
    """First message on a hub's socket: what follows is for that executor of that node.

    From here on the hub opens nothing of what comes on this connection.
    """

    executor: str
    node: str
    owner: str


class OpenLine(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """A new line, from an owner to an executor."""

    line: int
    executor: str
    owner: str


class LineData(msgspec.Struct, frozen=True, array_like=True, tag=2, gc=False):
    """Bytes of a line."""

    line: int
    data: bytes


class LineCredit(msgspec.Struct, frozen=True, array_like=True, tag=3, gc=False):
    """The receiver's process has taken so many bytes: as many more may be sent."""

    line: int
    count: int


class LineEnd(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """The line is over; nothing more comes on it."""

    line: int


Record = Union[OpenLine, LineData, LineCredit, LineEnd]  # noqa: UP007


class Batch(msgspec.Struct, frozen=True, array_like=True):
    """Records of a link, numbered from `first` on; what the sender has of the other's, in all."""

    first: int
    received: int
    records: list[Record]


encode_batch = msgspec.msgpack.Encoder().encode
decode_batch = msgspec.msgpack.Decoder(Batch).decode
