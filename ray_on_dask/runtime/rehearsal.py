"""What every executor does, done once in the zygote: children share what it leaves in memory.

A child of a fork shares its parent's pages until one of them writes there. Python writes wherever
it runs: it counts references, and rewrites the bytecode of a function that runs for the first few
times. So an executor that is made and called here, against a hub that is only a socket, leaves
code that is warm, caches that are full and memory that is laid out, and each child copies
a good part less.
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile

from ray_on_dask.runtime import output
from ray_on_dask.runtime.executor import Executor
from ray_on_dask.runtime.object_ref import dropped
from ray_on_dask.runtime.packing import gather_code
from ray_on_dask.serialization import serialize, to_bytes
from ray_on_dask.wire import messages as m
from ray_on_dask.wire.channel import Channel, connect
from ray_on_dask.wire.frames import pack_all

#: Calls of the actor: as many as it takes for its code to be warm.
CALLS = 12
_NAME = "0" * 16


class Understudy:
    """The actor's class."""

    def __init__(self, value: int) -> None:
        self.value = value

    def add(self, value: int) -> int:
        """Something to return."""
        self.value += value
        return self.value


class Rehearsed(Executor):
    """An executor whose end is not that of its process, which is the zygote."""

    def end(self, status: int, keep_page: bool = False) -> None:
        """A rehearsal that fails is given up."""
        raise RuntimeError("the rehearsal's executor would have ended")

    def on_hub_closed(self, channel: Channel) -> None:
        """Nothing is left of it but this."""


def rehearse() -> None:
    """Do what an executor does twice: to see what code runs, and when that lies together."""
    gather_code(_rehearse)


def _rehearse() -> None:
    """Make an executor, have it become an actor and be called, and take it apart."""
    title = output.title_now()
    with tempfile.TemporaryDirectory(prefix="rod-") as folder:
        hub = os.path.join(folder, "hub")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(hub)
            server.listen(1)
            _perform(folder, hub)
    dropped.clear()
    output.title(title)


def _perform(folder: str, hub: str) -> None:
    executor = Rehearsed(
        {
            "name": _NAME, "hub": hub, "address": os.path.join(folder, "x"), "node": "",
            "shm": folder, "capacity": 1 << 20, "ip": "127.0.0.1",
        }
    )  # fmt: skip
    try:
        executor.hub.send(m.Hello(executor.name, "executor", os.getpid(), None, executor.address))
        config = m.JobConfig(sys_path=list(sys.path), cwd=os.getcwd())
        executor.on_messages(executor.hub, [m.Adopt(1, config), _birth()])
        assert executor.host is not None
        executor.host.take_main()
        with connect(executor.address) as caller:
            arguments = m.Value(m.INLINE, to_bytes(serialize(((1,), {}))))
            caller.sendall(pack_all([m.Hello("caller", "owner", 0)]))
            for number in range(CALLS):
                id = number.to_bytes(16, "little")
                task = m.Task(id, b"f", arguments, [], 1, m.METHOD, 0, "Understudy.add", "add")
                caller.sendall(pack_all([m.Push(0, [task])]))
                executor.reactor.poll_now()
                executor.reactor.poll_now()
                while executor.queue:
                    executor._run(*executor.queue.popleft())
                with executor.lock:
                    executor.flush_results()
    finally:
        executor.reactor.close()
        executor.page.close()
        executor.storing.close()


def _birth() -> m.BecomeActor:
    from ray_on_dask.runtime.function_table import pickle_function

    none = m.Value(m.INLINE, to_bytes(serialize(((0,), {}))))
    spec = m.ActorSpec(
        bytes(16), b"f", pickle_function(Understudy)[0], "Understudy", none,
        [], {}, {},
    )  # fmt: skip
    return m.BecomeActor(1, spec, 0)
