"""Pings: the control store watches its nodes, and a node its control store. See `core.liveness`."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from ray_on_dask.config import number
from ray_on_dask.core.liveness import LIMIT, SOONER, Contact, Liveness
from ray_on_dask.plugins import _dask_compat as dask

if TYPE_CHECKING:
    from ray_on_dask.plugins.node import NodeManager
    from ray_on_dask.plugins.scheduler_plugin import ControlPlugin

logger = logging.getLogger("ray_on_dask")


class NodeWatch:
    """The control store's side."""

    def __init__(self, plugin: ControlPlugin):
        self.plugin = plugin
        self.liveness = Liveness()
        #: Addresses of workers whose nodes were declared dead: what they still say is dropped.
        self.dead: set[str] = set()
        self._removals: set[asyncio.Task[None]] = set()

    def configure(self) -> None:
        """Take the limit from the scheduler's configuration."""
        self.liveness.limit = number("node-death-timeout", LIMIT, least=0.5)

    def on_ping(self, worker: str = "", node: str = "", number: int = 0, **_: Any) -> None:
        """A node pings; never raises."""
        if node in self.liveness.last:
            self.liveness.heard(node, self.plugin.now())
        pong = {"op": "rod-pong", "number": number, "limit": self.liveness.limit}
        dask.send_to_worker(self.plugin.scheduler, worker, pong)

    def tick(self, now: float) -> None:
        """Declare dead what has been silent for too long."""
        for node in self.liveness.tick(now):
            address = self.plugin.addresses.get(node)
            if address is None:
                continue
            reason = f"it has not been heard of for {self.liveness.limit:g} s"
            logger.warning("node %s at %s counts as dead: %s", node[:12], address, reason)
            self.dead.add(address)
            self.plugin.node_down(node, reason)
            task = asyncio.get_running_loop().create_task(self._remove(address))
            self._removals.add(task)
            task.add_done_callback(self._removals.discard)

    async def _remove(self, address: str) -> None:
        try:
            await dask.remove_worker(self.plugin.scheduler, address)
        except Exception:
            logger.exception("could not remove worker %s", address)


class ControlWatch:
    """A node's side, where the control store is in another process."""

    def __init__(self, worker: Any, node: NodeManager):
        self.worker = worker
        self.node = node
        self.contact = Contact()

    def on_pong(self, number: int = 0, limit: float = LIMIT, **_: Any) -> None:
        """The control store's answer; never raises."""
        first = not self.contact.limit
        self.contact.answered(number, limit)
        if first:
            self.node.zygote.alive(SOONER * limit)

    def tick(self, now: float) -> None:
        """Ping; end what runs here if nobody has answered for too long."""
        number = self.contact.ping(now)
        if number:
            ping = {"op": "rod-ping", "node": self.node.name, "number": number}
            dask.send_to_scheduler(self.worker, ping)
        if self.contact.limit:
            self.node.zygote.alive(SOONER * self.contact.limit)
        if self.contact.lost(now):
            silent = now - self.contact.last
            logger.warning("no contact with the scheduler for %.0f s: executors are ended", silent)
            why = f"its node had no contact with the control store for {silent:.0f} s"
            for name in list(self.node.pool.executors):
                self.node.pool.kill(name, why)
