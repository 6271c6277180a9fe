"""One buffer for all sockets of a thread."""

from __future__ import annotations

import asyncio
import socket
import threading

from ray_on_dask.wire.read_buffer import CHUNK, Reader, read_buffer


def test_each_thread_has_one_of_its_own() -> None:
    seen: list[object] = []
    thread = threading.Thread(target=lambda: seen.append(read_buffer().obj))
    thread.start()
    thread.join()
    assert read_buffer() is read_buffer()
    assert seen[0] is not read_buffer().obj
    assert len(read_buffer()) == CHUNK


def test_what_comes_is_handed_on_in_order_whatever_its_size() -> None:
    class Collect(Reader):
        def __init__(self) -> None:
            self.read = bytearray()

        def take_in(self, view: memoryview) -> None:
            self.read += view

    async def story() -> None:
        ours, theirs = socket.socketpair()
        loop = asyncio.get_running_loop()
        transport, collect = await loop.create_unix_connection(Collect, sock=ours)
        sent = bytes(range(256)) * 4000
        for at in range(0, len(sent), 300_001):
            theirs.setblocking(False)
            await loop.sock_sendall(theirs, sent[at : at + 300_001])
        while len(collect.read) < len(sent):
            await asyncio.sleep(0.001)
        assert collect.read == sent
        transport.close()
        theirs.close()

    asyncio.run(story())
