"""The node manager: what hangs on one Dask worker, its hub, executors, store and directories.

It runs in the worker's event loop and never blocks it. Messages of its processes that are not for
it go up to the control store unopened; what comes down is for a process, or for itself.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ray_on_dask.plugins.copying import Copying
from ray_on_dask.plugins.dialer import Dialer
from ray_on_dask.plugins.executor_pool import ExecutorPool
from ray_on_dask.plugins.gpus import Claim
from ray_on_dask.plugins.hub import Line, start_hub
from ray_on_dask.plugins.line_end import LineEnd
from ray_on_dask.plugins.node_store import NodeStore
from ray_on_dask.plugins.relay import Relay
from ray_on_dask.runtime.beginning import Beginning, zygote_start
from ray_on_dask.runtime.directories import GRACE, host_id, sweep
from ray_on_dask.runtime.zygote_client import ZygoteClient
from ray_on_dask.wire import messages as m

logger = logging.getLogger("ray_on_dask")


@dataclass
class NodeOptions:
    """How a node is set up."""

    resources: dict[str, int] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    gpus: Claim = field(default_factory=Claim)
    capacity: int = 0
    plasma_directory: str | None = None
    temp_dir: str | None = None
    #: Where objects go for which there is no room in memory.
    spill_directory: str = ""
    ip: str = ""
    spares: int = 0
    head: bool = False
    #: How people call it; "" for its address.
    node_name: str = ""


class NodeManager:
    """One node.

    Parameters
    ----------
    options : NodeOptions
    up : callable
        ``up(sender, message)`` hands a message to the control store.
    beginning : Beginning, optional
        What there is of it already.
    """

    def __init__(
        self,
        options: NodeOptions,
        up: Callable[[str, Any], None],
        beginning: Beginning | None = None,
    ):
        self.options = options
        self.up = up
        self.beginning = beginning or Beginning.make(options.temp_dir, options.plasma_directory)
        self.name = self.beginning.name
        self.capacity = options.capacity
        self.ip = options.ip or socket.gethostbyname(socket.gethostname())
        self.cpus = max(1, options.resources.get("CPU", 0) // 10_000)
        self.closing = False
        #: Reads and writes objects for Dask's own tasks in this process, once any has needed it.
        self.guest: Any = None
        #: It is about to leave, or is not after all: set by the plugin around it.
        self.on_hand_over: Callable[[bool], None] = lambda leaving: None
        #: The loop that it runs on.
        self.loop: asyncio.AbstractEventLoop | None = None
        self.lines: dict[str, Line] = {}
        self.directories = self.beginning.directories
        self.hub_path = os.path.join(self.directories.session_dir, "hub")
        self.zygote = ZygoteClient(self._on_forked, self._on_exited, self._on_zygote_lost)
        self.pool = ExecutorPool(self, options.gpus.ids)
        self.dialer = Dialer(self.name, up)
        self.store = NodeStore(self)
        self.copying = Copying(self)
        self.store.fetcher = self.copying.fetch
        self.relay = Relay(
            self.name, self.dialer.dial, self._join_line, self.now, self.pool.owner_lost
        )
        self.relay.on_unreachable = self._on_unreachable
        self._server: asyncio.AbstractServer | None = None
        self._children: dict[str, Callable[[int], None]] = {}
        self._handlers: dict[type, Callable[[Any], None]] = {
            m.StartLease: self.pool.lease,
            m.StartActor: self.pool.actor,
            m.EndLease: lambda msg: self.pool.end_lease(msg.lease),
            m.FreeObjects: self.store.free,
            m.OwnerGone: self.store.owner_gone,
            m.Unwanted: self.store.unwanted,
            m.JobEnded: lambda msg: self.pool.end_job(msg.job),
            m.KillActor: self._kill_actor,
            m.HandOver: lambda msg: self.on_hand_over(msg.leaving),
            m.Answer: self.dialer.on_answer,
            m.KillLease: lambda message: self.pool.kill_lease(message.lease, message.reason),
        }

    @staticmethod
    def now() -> float:
        """The clock of the node."""
        return time.monotonic()

    async def start(self) -> None:
        """Open the hub and start the zygote."""
        self.loop = asyncio.get_running_loop()
        self.zygote.start(zygote_start(self.directories), self.beginning.zygote)
        self._server = await start_hub(self, self.hub_path)
        options = self.options
        asyncio.get_running_loop().run_in_executor(
            None, sweep, options.temp_dir, options.plasma_directory, GRACE, options.spill_directory
        )
        self.pool.keep_spares(self.options.spares)

    # -- messages of its processes ---------------------------------------------------------

    def on_message(self, line: Line, message: Any) -> None:
        """A process says something."""
        kind = type(message)
        if not line.process:
            if kind is m.Hello:
                self._on_hello(line, message)
            else:
                line.close()
        elif self.store.handles(message):
            self.store.handle(line.process, message)
        elif kind is m.Retired:
            self.pool.retire(line.process)
        else:
            if kind is m.LeaseEnded:
                self.pool.lease_ended(line.process, message.lease)
            self.up(line.process, message)

    def _on_hello(self, line: Line, hello: m.Hello) -> None:
        line.process, line.kind, line.pid = hello.process, hello.kind, hello.pid
        self.lines[hello.process] = line
        if hello.kind == "node":
            return  # another node of this host, which opens objects for its own processes
        self.up(self.name, hello)
        if hello.kind == "executor":
            self.pool.on_hello(line, hello)

    def on_line_lost(self, line: Line) -> None:
        """A process has hung up."""
        if self.lines.get(line.process) is line:
            del self.lines[line.process]
        if line.kind == "node":
            self.store.process_gone(line.process, 0)
        elif line.kind in ("driver", "guest"):
            here = line.pid == os.getpid()  # this process lives on, and so does its count of bytes
            self.store.process_gone(line.process, 0 if here else line.pid)
            self.up(self.name, m.Lost(line.process, f"the {line.kind} has exited"))
        elif line.kind == "executor" and line.process in self.pool.executors:
            self.pool.kill(line.process, "")  # it lives, but nobody can talk to it any more

    async def _join_line(self, end: LineEnd) -> None:
        """An owner on another host wants a line to an executor of this node."""
        address = self.pool.executors[end.executor].address
        await asyncio.get_running_loop().create_unix_connection(lambda: end, address)

    def _on_unreachable(self, node: str) -> None:
        logger.warning(
            "node %s cannot be reached from node %s: is the port of its Dask worker open? Tasks of "
            "processes here go elsewhere for a while.", node, self.name,
        )  # fmt: skip
        self.up(self.name, m.Unreachable(node))

    # -- messages from above ------------------------------------------------------------------

    def down(self, to: str, message: Any) -> None:
        """The control store says something, to this node or to one of its processes."""
        if to == self.name:
            handler = self._handlers.get(type(message))
            if handler is not None:
                handler(message)
            return
        line = self.lines.get(to)
        if line is not None:
            line.send(message)

    def _kill_actor(self, message: m.KillActor) -> None:
        for record in self.pool.executors.values():
            if record.actor == message.actor:
                self.pool.kill(record.name, message.reason or "killed by ray.kill")

    # -- children ----------------------------------------------------------------------------------

    def spawn(
        self, name: str, command: list[str], on_exited: Callable[[int], None], **options: Any
    ) -> None:
        """Start a program that dies with this node (a Redis server, say)."""
        self._children[name] = on_exited
        self.zygote.spawn(name, command, **options)

    def _on_forked(self, name: str, pid: int, out: int | None, err: int | None) -> None:
        if name in self._children:
            for fd in (out, err):
                if fd is not None:
                    os.close(fd)
            return
        self.pool.on_forked(name, pid, out, err)

    def _on_exited(self, name: str, pid: int, status: int) -> None:
        ended = self._children.pop(name, None)
        if ended is not None:
            ended(status)
            return
        self.pool.on_exited(name, pid, status)

    def _on_zygote_lost(self) -> None:
        self.pool.on_all_lost()

    def tick(self, now: float) -> None:
        """To be called each second or so."""
        self.relay.tick(now)
        self.copying.tick()
        self.pool.reap(now)
        self.pool.watch_memory()

    async def close(self, why: str = "its node was closed") -> None:
        """End every process of the node, tell drivers `why`, and remove its directories."""
        self.closing = True
        for line in self.lines.values():
            if line.kind == "driver":
                line.send(m.Exit(False, why))
        if self._server is not None:
            self._server.close()
        if self.guest is not None:
            await asyncio.get_running_loop().run_in_executor(None, self.guest.close)
        self.relay.close()
        self.copying.close()
        self.pool.environments.packages.close()
        self.store.close()
        await self.zygote.close()
        self.options.gpus.release()
        for line in list(self.lines.values()):
            line.close()
        await asyncio.get_running_loop().run_in_executor(None, self.directories.remove)

    def facts(self) -> dict[str, Any]:
        """What the node says of itself when it joins."""
        return {
            "name": self.name, "ip": self.ip, "hostname": socket.gethostname(),
            "host": host_id(), "hub": self.hub_path, "shm": self.directories.shm_dir,
            "session_dir": self.directories.session_dir, "pid": os.getpid(),
            "resources": self.options.resources, "labels": self.options.labels,
            "head": self.options.head, "node_name": self.options.node_name,
        }  # fmt: skip
