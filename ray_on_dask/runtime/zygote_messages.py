"""What a node and its zygote say to each other, one message a packet.

They talk over a `SOCK_SEQPACKET` pair, so a packet is a whole message and the
file descriptors that come with it are its own. Names are chosen by the node and
never used twice.
"""

from __future__ import annotations

from typing import Any

import msgspec

#: Longest message from the zygote, in bytes (it sends no user's data).
LONGEST_REPORT = 4096
#: Longest message to the zygote, in bytes.
LONGEST_REQUEST = 1 << 17
#: Status of a child that could not be made, as shells have it for a command not found.
NEVER_STARTED = 127


class Fork(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Fork a child that calls `params["entry"]`, a "module:function", with `params`."""

    name: str
    params: dict[str, Any]


class Spawn(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """Start a program of its own; `env` is added to the node's environment."""

    name: str
    command: list[str]
    env: dict[str, str] = {}
    #: "" for the node's own.
    cwd: str = ""
    #: File that its stdout and stderr are appended to; "" for two pipes to the node.
    output: str = ""


class Kill(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Signal a child, if it is still there: a process id that was reaped is never hit."""

    pid: int
    signal: int


class Alive(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """The node lives. If nothing comes for `patience` seconds it is stopped or hangs: end it."""

    patience: float


class Ready(msgspec.Struct, frozen=True, array_like=True, tag=10):
    """All imports are done; children come in milliseconds from here on."""

    pid: int


class Forked(msgspec.Struct, frozen=True, array_like=True, tag=11):
    """The child exists. With it come the read ends of its stdout and stderr, or nothing."""

    name: str
    pid: int


class Exited(msgspec.Struct, frozen=True, array_like=True, tag=12):
    """The child is gone and reaped.

    `status` is its exit code, or minus the number of the signal that ended it;
    `pid` is 0 if there never was one because the machine is out of something.
    """

    name: str
    pid: int
    status: int


encode = msgspec.msgpack.Encoder().encode
decode_request = msgspec.msgpack.Decoder(Fork | Spawn | Kill | Alive).decode
decode_report = msgspec.msgpack.Decoder(Ready | Forked | Exited).decode
