"""A wire between two network interfaces that delays what comes from the first.

    python slow_wire.py FROM TO SECONDS

For kernels without `netem`. It hands on what raw sockets read, with the header that tells of
checksums and segments left to the hardware, so large frames pass whole. Prints "ready".
"""

from __future__ import annotations

import contextlib
import select
import socket
import sys
from collections import deque
from time import monotonic

SOL_PACKET, PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING = 263, 15, 23
ETH_P_ALL = 3
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
#: Bytes of the longest frame and its header; of what sockets keep for us.
FRAME_MAX, KEPT = 1 << 17, 1 << 24


def open_on(interface: str) -> socket.socket:
    """A socket that reads what comes in at an interface, and sends from there."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sock.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    sock.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    for option in (SO_RCVBUFFORCE, SO_SNDBUFFORCE):
        sock.setsockopt(socket.SOL_SOCKET, option, KEPT)
    sock.bind((interface, ETH_P_ALL))
    sock.setblocking(False)
    return sock


def frames(sock: socket.socket) -> list[bytes]:
    """What has come."""
    found = []
    with contextlib.suppress(BlockingIOError):
        while len(found) < 64:
            found.append(sock.recv(FRAME_MAX))
    return found


def send(sock: socket.socket, frame: bytes) -> None:
    """Send it, or lose it as a full wire does."""
    with contextlib.suppress(OSError):
        sock.send(frame)


def main(source: str, target: str, seconds: float) -> None:
    """Hand on, for ever."""
    near, far = open_on(source), open_on(target)
    late: deque[tuple[float, bytes]] = deque()
    print("ready", flush=True)
    while True:
        wait = max(0.0, late[0][0] - monotonic()) if late else None
        select.select([near, far], [], [], wait)
        due = monotonic() + seconds
        late.extend((due, frame) for frame in frames(near))
        for frame in frames(far):
            send(near, frame)
        now = monotonic()
        while late and late[0][0] <= now:
            send(far, late.popleft()[1])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
