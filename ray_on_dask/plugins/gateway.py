"""A gateway: the hub of a driver that has no node on its host.

It is a node without executors, within a process that the driver owns. It joins through Dask comms
that it makes itself, so nobody needs to reach the driver's host: one to the scheduler for what a
node says to the control store, links to nodes for calls, and more for objects. What its driver puts
is handed over to nodes (`plugins.uploading`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import msgspec

from ray_on_dask.core.resources import to_units
from ray_on_dask.plugins import _dask_compat as dask
from ray_on_dask.plugins.control_line import ControlLine
from ray_on_dask.plugins.detect import node_ip, store_capacity
from ray_on_dask.plugins.hub import start_hub
from ray_on_dask.plugins.node import NodeManager, NodeOptions
from ray_on_dask.plugins.relay import CONNECT, GIVE_UP, Relay
from ray_on_dask.plugins.uploading import Uploading
from ray_on_dask.runtime.directories import sweep
from ray_on_dask.wire import messages as m
from ray_on_dask.wire.relay_messages import Relay as Wanted

logger = logging.getLogger("ray_on_dask")

#: Seconds for what was said last to arrive.
LAST_WORDS = 3.0


class GatewayNode(NodeManager):
    """A node that runs nothing."""

    async def start(self) -> None:
        """Open the hub."""
        self.loop = asyncio.get_running_loop()
        self._server = await start_hub(self, self.hub_path)
        self.loop.run_in_executor(None, sweep, self.options.temp_dir, self.options.plasma_directory)

    def tick(self, now: float) -> None:
        """To be called each second or so."""
        self.relay.tick(now)
        self.copying.tick()

    async def close(self, why: str = "its gateway has lost the cluster") -> None:
        """Tell the driver `why`, and remove the directories."""
        self.closing = True
        for line in self.lines.values():
            line.send(m.Exit(False, why))
        if self._server is not None:
            self._server.close()
        self.relay.close()
        self.copying.close()
        self.store.close()
        for line in list(self.lines.values()):
            line.close()
        await asyncio.get_running_loop().run_in_executor(None, self.directories.remove)


class Gateway:
    """A gateway node and its line to the control store.

    Parameters
    ----------
    scheduler : str
        Address of the Dask scheduler.
    security : distributed.Security
    options : dict
        `object_store_memory`, `plasma_directory`, `temp_dir`.
    """

    def __init__(self, scheduler: str, security: Any, options: dict[str, Any]):
        self.scheduler = scheduler
        self._arguments = dask.connection_arguments(security)
        capacity = store_capacity(
            options.get("object_store_memory"), options.get("plasma_directory")
        )
        resources = {"object_store_memory": to_units(float(capacity))}
        self.node = GatewayNode(
            NodeOptions(
                resources, capacity=capacity, plasma_directory=options.get("plasma_directory"),
                temp_dir=options.get("temp_dir"), ip=node_ip(),
            ),
            self.up,
        )  # fmt: skip
        self.uploading = Uploading(self.node)
        self.node.store.on_objects = self.uploading.changed
        self.node.dialer.connect = self.connect
        self.control = Relay(
            self.node.name, self._dial, _nobody, self.node.now, lambda *_: None
        )  # fmt: skip
        self.control.make_end = ControlLine
        self.control.op = "rod-gateway"
        self.line: ControlLine | None = None
        #: Why it must end: the cluster is gone.
        self.lost = asyncio.Event()

    async def connect(self, address: str) -> Any:
        """A comm to a server of the cluster."""
        return await dask.connect_as(address, CONNECT, self._arguments)

    async def _dial(self, node: str) -> Any:
        return await self.connect(self.scheduler)

    def up(self, sender: str, message: Any) -> None:
        """Hand a message to the control store."""
        if self.line is not None:
            self.line.send(sender, message)

    async def start(self) -> None:
        """Open the hub, and join."""
        await self.node.start()
        facts = msgspec.json.encode(self.node.facts()).decode()
        self.line = self.control.line(Wanted(facts, "", self.node.name))
        self.line.on_end = self.lost.set
        self.line.listen(self.node.down)

    async def tick(self) -> None:
        """Look after everything, until cancelled."""
        while True:
            await asyncio.sleep(1.0)
            try:
                self.node.tick(self.node.now())
                self.control.tick(self.node.now())
            except Exception:
                logger.exception("the gateway's tick failed")

    async def close(self) -> None:
        """Say good-bye, and end."""
        self.uploading.close()
        await asyncio.sleep(0)
        if self.line is not None and not self.line.closed:
            self.line.on_end = lambda: None
            self.line.hang_up()
            await _until(lambda: not self.line.link.link.waiting, LAST_WORDS)  # type: ignore[union-attr]
        self.control.close()
        await self.node.close()


async def _nobody(end: Any) -> None:
    raise LookupError("a gateway has no executors")


async def _until(condition: Callable[[], bool], limit: float) -> None:
    end = asyncio.get_running_loop().time() + min(limit, GIVE_UP)
    while not condition() and asyncio.get_running_loop().time() < end:
        await asyncio.sleep(0.01)
