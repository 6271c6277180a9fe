"""A node within a Dask worker: started with it, announced to the control store, ended with it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Coroutine
from typing import Any

from distributed.diagnostics.plugin import WorkerPlugin
from tornado.ioloop import PeriodicCallback

from ray_on_dask.core.stored_objects import Stored
from ray_on_dask.plugins import _dask_compat as dask, local_nodes, preload
from ray_on_dask.plugins.detect import node_options
from ray_on_dask.plugins.figures import Figures
from ray_on_dask.plugins.node import NodeManager
from ray_on_dask.plugins.object_keys import ObjectKeys
from ray_on_dask.plugins.relay import CONNECT
from ray_on_dask.plugins.session_file import SessionFile
from ray_on_dask.plugins.stored_handle import StoredHandle
from ray_on_dask.plugins.uploading import receive
from ray_on_dask.plugins.watch import ControlWatch
from ray_on_dask.wire import messages as m

logger = logging.getLogger("ray_on_dask")


class NodePlugin(WorkerPlugin):
    """Makes a Dask worker a node.

    Parameters
    ----------
    **given
        What `node_options` would otherwise detect: ``resources``, ``object_store_memory``,
        ``plasma_directory``, ``spill_directory``, ``temp_dir``, ``num_gpus``, ``labels``, ``head``.
    """

    name = "ray_on_dask-node"
    idempotent = True

    def __init__(self, **given: Any):
        self.given = given
        self.control: Any = None
        #: What a head has made of the node before it imported Dask.
        self.beginning: Any = None

    async def setup(self, worker: Any) -> None:
        """The worker is up: open the hub, start the zygote, say that there is a node."""
        try:
            await self._setup(worker)
        except Exception as error:
            # Of a worker that comes late nobody but its own log would learn this.
            if self.control is None:
                dask.send_to_scheduler(worker, {"op": "rod-failed", "why": str(error)})
            raise

    async def _setup(self, worker: Any) -> None:
        self.worker = worker
        self._frames: list[tuple[str, bytes]] = []
        self._leaving = False
        self._tasks: set[asyncio.Task[None]] = set()
        given = {**self.given, **preload.given_to(worker)}
        self.node = node = NodeManager(node_options(worker, **given), self.up, self.beginning)
        self.keys = ObjectKeys(self.announce)
        node.store.on_objects = self.keys.changed
        node.on_hand_over = self.hand_over
        node.dialer.connect = self.connect
        await node.start()
        local_nodes.nodes[node.name] = node
        self.watch = None if self.control is not None else ControlWatch(worker, node)
        pong = self.watch.on_pong if self.watch is not None else _ignore
        dask.on_stream(worker, {"rod-down": self.on_down, "rod-pong": pong})
        dask.on_calls(worker, self.calls())
        dask.add_figures(worker, Figures(node).measure)
        self._ticker = PeriodicCallback(self._tick, 1000)
        self._ticker.start()
        redis = "" if self.control is None else self.control.log.urls[0]
        detached = bool(os.environ.pop("RAY_ON_DASK_DETACHED", ""))
        where = SessionFile(dask.scheduler_address(worker), node.hub_path, redis, detached)
        where.write(node.directories.session_dir)
        if self.control is None:
            dask.hurry_worker_stream(worker)
            dask.send_to_scheduler(worker, {"op": "rod-node", "facts": node.facts()})
        if self.watch is not None:
            self.watch.tick(node.now())

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

    async def connect(self, address: str) -> Any:
        """A comm to another node's worker."""
        return await dask.connect_to(self.worker, address, CONNECT)

    def calls(self) -> dict[str, Any]:
        """What other nodes and gateways call: each keeps its comm for as long as it likes."""
        return {"rod-link": self.on_link, "rod-read": self.on_read, "rod-write": self.on_write}

    async def on_link(
        self, comm: Any, link: str = "", node: str = "", new: bool = False, received: int = 0,
        raw: bool = False,
    ) -> None:  # fmt: skip
        """Another node wants to carry lines to executors of this one; lasts as long as the comm."""
        await self.node.relay.on_link(comm, link, node, new, received, raw)

    async def on_read(self, comm: Any, reader: str = "", raw: bool = False) -> None:
        """Another node wants objects of this one; lasts as long as the comm."""
        await self.node.copying.serve(comm, reader, raw)

    async def on_write(
        self, comm: Any, id: bytes = b"", size: int = 0, key: str = "", home: str = ""
    ) -> None:
        """A gateway hands an object over."""
        await receive(self.node.copying, comm, id, size, key, home)

    def transition(self, key: Any, start: str, finish: str, **_: Any) -> None:
        """A key of Dask's has changed its state; one of ours that is brought here is adopted."""
        if finish == "memory" and start in ("flight", "fetch"):
            handle = self.worker.data.get(key)
            if isinstance(handle, StoredHandle) and handle.home != self.node.name:
                self._begin(self._adopt(key, handle))

    async def _adopt(self, key: Any, handle: StoredHandle) -> None:
        data = self.worker.data
        await self.node.copying.adopt(handle.id, handle.home, lambda: key in data)
        handle.home = self.node.name

    def hand_over(self, leaving: bool) -> None:
        """The node is about to leave: Dask is to know all its objects, to move them elsewhere."""
        self._leaving = leaving
        if leaving:  # of those that others have too Dask may have dropped the key here
            self.keys.changed(self.node.copying.shared(), [])
        known = (lambda: self._begin(self._say_all_known())) if leaving else None
        self.keys.hurry(leaving, known)

    async def _say_all_known(self) -> None:
        with contextlib.suppress(OSError, LookupError):
            await self.node.dialer.ask("all_known")  # on the line that the keys have gone by

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def announce(self, new: dict[str, Stored], gone: list[str]) -> None:
        """Let Dask know of keys, and of keys that are no more."""
        if new:
            handles = {key: StoredHandle(x.id, self.node.name) for key, x in new.items()}
            dask.add_data(self.worker, handles)
        sizes = {key: x.at.size for key, x in new.items()}
        if self.control is not None:
            self.control.objects(self.worker.address, sizes, gone)
        else:
            message = {"op": "rod-objects", "sizes": sizes, "gone": gone}
            dask.send_to_scheduler(self.worker, message)

    def _tick(self) -> None:
        try:
            now = self.node.now()
            if self.watch is not None:
                self.watch.tick(now)
            self.node.tick(now)
        except Exception:
            logger.exception("the node's tick failed")

    async def teardown(self, worker: Any) -> None:
        """The worker closes: so does the node."""
        self._ticker.stop()
        self.keys.close()
        for task in self._tasks:
            task.cancel()
        dask.drop_figures(worker)
        dask.off_stream(worker, ["rod-down", "rod-pong"])
        dask.off_calls(worker, self.calls())
        local_nodes.nodes.pop(self.node.name, None)
        why = "was closed"
        if self._leaving:
            why = "was retired; after `shutdown`, `init` joins another"
        elif self.control is None and dask.has_lost_scheduler(worker):
            why = f"has lost the Dask scheduler at {dask.scheduler_address(worker)}, which is gone"
        await self.node.close(f"its node, {self.node.name[:12]}, {why}")

    def __reduce__(self) -> tuple[Any, ...]:
        return _make, (self.given,)


def _ignore(**_: Any) -> None:
    """What is of no interest to a node beside its control store."""


def _make(given: dict[str, Any]) -> NodePlugin:
    return NodePlugin(**given)
