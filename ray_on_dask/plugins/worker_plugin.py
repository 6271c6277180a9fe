"""A node within a Dask worker: started with it, announced to the control store, ended with it."""

from __future__ import annotations

import logging
import os
from typing import Any

from distributed.diagnostics.plugin import WorkerPlugin
from tornado.ioloop import PeriodicCallback

from ray_on_dask.plugins import _dask_compat as dask
from ray_on_dask.plugins import local_nodes
from ray_on_dask.plugins.detect import node_options
from ray_on_dask.plugins.node import NodeManager
from ray_on_dask.plugins.stored_handle import StoredHandle
from ray_on_dask.wire import messages as m

logger = logging.getLogger("ray_on_dask")


class NodePlugin(WorkerPlugin):
    """Makes a Dask worker a node.

    Parameters
    ----------
    **given
        What `node_options` would otherwise detect: ``resources``, ``object_store_memory``,
        ``plasma_directory``, ``temp_dir``, ``num_gpus``, ``labels``, ``head``.
    """

    name = "ray_on_dask-node"
    idempotent = True

    def __init__(self, **given: Any):
        self.given = given
        self.control: Any = None

    async def setup(self, worker: Any) -> None:
        """The worker is up: open the hub, start the zygote, say that there is a node."""
        self.worker = worker
        options = node_options(worker, **self.given)
        self.node = node = NodeManager(options, self.up)
        await node.start()
        node.on_objects = self.on_objects
        local_nodes.nodes[node.name] = node
        dask.on_stream(worker, {"rod-down": self.on_down})
        self._frames: list[tuple[str, bytes]] = []
        self._ticker = PeriodicCallback(self._tick, 1000)
        self._ticker.start()
        if self.control is None:
            dask.hurry_worker_stream(worker)
            dask.send_to_scheduler(worker, {"op": "rod-node", "facts": node.facts()})

    def up(self, sender: str, message: Any) -> None:
        """Hand a message to the control store."""
        if self.control is not None:
            self.control.up(sender, message)
            return
        if not self._frames:
            self.worker.loop.asyncio_loop.call_soon(self._flush)
        self._frames.append((sender, m.encode(message)))

    def _flush(self) -> None:
        frames, self._frames = self._frames, []
        dask.send_to_scheduler(self.worker, {"op": "rod-up", "frames": frames})

    def on_down(self, frames: Any = (), **_: Any) -> None:
        """Messages of the control store; never raises."""
        for to, frame in frames:
            try:
                self.node.down(to, m.decode(frame))
            except Exception:
                logger.exception("bad message for %s", to)

    def on_objects(self, new: list[Any], gone: list[bytes]) -> None:
        """Stored objects have come or gone: Dask's memory shows them."""
        if new:
            dask.add_data(self.worker, {x.key: StoredHandle(x.at) for x in new})
        self.announce_objects({x.key: x.at.size for x in new}, [])

    def announce_objects(self, sizes: dict[str, int], gone: list[str]) -> None:
        """Tell the scheduler of keys."""

    def _tick(self) -> None:
        try:
            self.node.tick(self.node.now())
        except Exception:
            logger.exception("the node's tick failed")

    async def teardown(self, worker: Any) -> None:
        """The worker closes: so does the node."""
        self._ticker.stop()
        local_nodes.nodes.pop(self.node.name, None)
        await self.node.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _make, (self.given,)


def _make(given: dict[str, Any]) -> NodePlugin:
    return NodePlugin(**given)


def pid() -> int:
    """This worker's process id."""
    return os.getpid()
