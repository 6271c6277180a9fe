"""Whose process is at the other end of a TCP connection within this machine.

TCP on loopback asks nobody who they are, so any user of a machine could connect to a Dask
scheduler there, and have it run code as its own user. But the kernel knows: its table of
connections has the user that each end belongs to.
"""

from __future__ import annotations

import os
import socket
import struct

#: The kernel's table, and a connection's state in it when both ends are there.
_TABLE, _ESTABLISHED = "/proc/net/tcp", "01"


def peer_is_ours(peer: tuple[str, int], own: tuple[str, int]) -> bool:
    """Whether the end `peer` of a connection to `own` is this user's (or root's).

    Parameters
    ----------
    peer, own : (str, int)
        IPv4 addresses and ports.
    """
    wanted = [_as_in_table(*peer), _as_in_table(*own), _ESTABLISHED]
    with open(_TABLE) as table:
        for line in table:
            fields = line.split()
            if fields[1:4] == wanted:
                return int(fields[7]) in (os.geteuid(), 0)
    return False


def can_tell() -> bool:
    """Whether the kernel's table tells of this process's own connections, as it should.

    In some sandboxes it cannot be read, or knows no users.
    """
    try:
        with (
            socket.create_server(("127.0.0.1", 0)) as server,
            socket.create_connection(server.getsockname(), 5) as own,
        ):
            return peer_is_ours(own.getsockname(), server.getsockname())
    except (OSError, ValueError, IndexError):
        return False


def _as_in_table(host: str, port: int) -> str:
    (number,) = struct.unpack("=I", socket.inet_aton(host))
    return f"{number:08X}:{port:04X}"
