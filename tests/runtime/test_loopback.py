"""The kernel's table says whose process is at the other end of a connection."""

from __future__ import annotations

import socket

from ray_on_dask.runtime import loopback


def test_ones_own_connection_is_ones_own_and_one_that_is_not_there_is_not() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as own,
    ):
        assert loopback.peer_is_ours(own.getsockname(), server.getsockname())
        assert not loopback.peer_is_ours(("127.0.0.1", 1), server.getsockname())
        gone = own.getsockname()
    assert not loopback.peer_is_ours(gone, ("127.0.0.1", 1))


def test_it_can_be_told_here() -> None:
    assert loopback.can_tell()
