"""The control store within the Dask scheduler: carries messages in, instructions out."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from distributed.diagnostics.plugin import SchedulerPlugin
from tornado.ioloop import PeriodicCallback

from ray_on_dask import __version__
from ray_on_dask.config import number
from ray_on_dask.core import cluster_metrics
from ray_on_dask.core.control import ControlStore, NodeFacts, Record
from ray_on_dask.core.exposition import Family
from ray_on_dask.core.instructions import Send
from ray_on_dask.plugins import (
    _dask_compat as dask,
    _dask_compat_tasks as dask_tasks,
    dashboard,
    http_routes,
    local_nodes,
)
from ray_on_dask.plugins.cluster_log import ClusterLog, given_url
from ray_on_dask.plugins.elastic import Elastic
from ray_on_dask.plugins.errors import make_error
from ray_on_dask.plugins.gateways import Gateways
from ray_on_dask.plugins.kept_refs import HOLDER, KeptRefs
from ray_on_dask.plugins.package_shelf import PackageShelf
from ray_on_dask.plugins.records import Records
from ray_on_dask.plugins.watch import NodeWatch
from ray_on_dask.plugins.welcome import welcome
from ray_on_dask.wire import messages as m

logger = logging.getLogger("ray_on_dask")

NAME = "ray_on_dask"
#: Seconds between two ticks of the control store.
TICK = 0.1


class ControlPlugin(SchedulerPlugin):
    """Resources, leases, refs and actors of a cluster, within its scheduler.

    Parameters
    ----------
    session : dict
        Facts that every driver is told (Redis and dashboard addresses, the session's name).
    node : distributed.WorkerPlugin, optional
        Registered with all workers, present and to come.
    redis : dict, optional
        What `ClusterLog` is to be made of.
    """

    name = NAME
    idempotent = True

    def __init__(
        self,
        session: dict[str, Any] | None = None,
        node: Any = None,
        redis: dict[str, Any] | None = None,
    ):
        self.session = session or {}
        self.node_plugin = node
        self.redis = redis or {}
        self.log: Any = None
        #: Set when `start` is done, for those who wanted to be the first too.
        self.started: asyncio.Event | None = None
        #: What keeps workers from being nodes, for people: {worker: why}.
        self.failures: dict[str, str] = {}
        #: Refs in Dask graphs.
        self.kept = KeptRefs(lambda message: self.up(HOLDER, message))
        #: Messages to nodes of other processes, for the end of this turn of the loop.
        self._down: dict[str, list[tuple[str, bytes]]] = {}
        self.scheduler: Any = None
        self.store: ControlStore | None = None
        self.records: Records | None = None
        self._inbox: deque[tuple[str, Any]] = deque()
        self._working = False
        self.addresses: dict[str, str] = {}
        self._ticker: PeriodicCallback | None = None
        self.elastic: Elastic | None = None
        self.watch = NodeWatch(self)
        self._drop_metrics: Callable[[], None] = lambda: None

    async def start(self, scheduler: Any) -> None:
        """Take part in a scheduler; a second plugin of the kind leaves it to the first."""
        first = self if dask.claim(scheduler, NAME, self) else dask.claimed(scheduler, NAME)
        if first.started is not None:  # a scheduler starts what a preload has registered again
            await first.started.wait()
            return
        self.started = asyncio.Event()
        try:
            await self._start(scheduler)
        except BaseException:
            dask.disown(scheduler, NAME)
            raise
        finally:
            self.started.set()

    async def _start(self, scheduler: Any) -> None:
        missing = dask.check(scheduler)
        if missing:
            raise RuntimeError(f"this release of distributed lacks {', '.join(missing)}")
        self.scheduler = scheduler
        self.store = ControlStore(make_error)
        self.store.leases.policy.threshold = number("spread-threshold", 0.5, most=1.0)
        self.log = ClusterLog(**{"url": given_url(), **self.redis})
        self.session["redis_address"] = self.log.address
        self.records = Records(scheduler, self.session)
        self.records.writer = self.log
        self.store.extra = {
            "redis": self._about_redis,
            "clock": lambda sender: [self.now(), time.time()],
            "figures": lambda sender: self.figures(),
            "recent_errors": lambda sender: list(self.records.errors) if self.records else [],
            "blocked": lambda sender: list(self.records.blocked) if self.records else [],
            "runs": lambda sender: self.records.listed() if self.records else [],
            "session": lambda sender: {**self.session, "scheduler_address": scheduler.address},
            "credentials": lambda sender: dask_tasks.credentials(scheduler),
        }
        self.session.setdefault("session_name", f"session_{time.strftime('%Y-%m-%d_%H-%M-%S')}")
        self.store.questions.session = {
            "session_name": self.session["session_name"], "scheduler_address": scheduler.address,
        }  # fmt: skip
        self.elastic = Elastic(scheduler, self.store, self.addresses, self.dispatch)
        self.gateways = Gateways(self)
        self.packages = PackageShelf(self.store, self.now)
        self.watch.configure()
        rpc: dict[str, Any] = {"rod_info": self.info, "rod_want": self.want, "rod_keep": self.keep}
        dask.on_rpc(scheduler, rpc | {"rod-gateway": self.gateways.on_link})
        dask.on_stream(
            scheduler,
            {
                "rod-up": self.on_up, "rod-node": self.on_node, "rod-objects": self.on_objects,
                "rod-failed": self.on_failed, "rod-ping": self.watch.on_ping,
            },
        )  # fmt: skip
        self._ticker = PeriodicCallback(self.tick, TICK * 1000)
        self._ticker.start()
        self._drop_metrics = http_routes.install(scheduler, self.metrics)
        if self.node_plugin is not None:
            self.log.start(scheduler.address)
            self.session.setdefault("dashboard_url", dask.dashboard_url(scheduler))
            if dask.has_dashboard(scheduler):
                dashboard.add_pages(scheduler)
            self.failures |= await dask.add_worker_plugin(scheduler, self.node_plugin)

    # -- nodes ---------------------------------------------------------------------------

    def on_node(self, worker: str = "", facts: Any = None, **_: Any) -> None:
        """A worker says that it is a node now."""
        try:
            self.node_up(worker, dict(facts))
            self.watch.liveness.heard(facts["name"], self.now())
        except Exception:
            logger.exception("node at %s could not join", worker)

    def on_failed(self, worker: str = "", why: str = "", **_: Any) -> None:
        """A worker says that it cannot be a node."""
        self.failures[worker] = why

    def node_up(self, address: str, facts: dict[str, Any]) -> None:
        """A node has joined."""
        assert self.store is not None
        self.addresses[facts["name"]] = address
        dask.hurry_stream(self.scheduler, address)
        self.dispatch(self.store.node_up(NodeFacts(address=address, **facts), self.now()))

    def add_worker(self, scheduler: Any, worker: str) -> None:
        """A Dask worker is there, at an address that a dead one may have had."""
        self.watch.dead.discard(worker)

    def remove_worker(self, scheduler: Any, worker: str, **_: Any) -> None:
        """A Dask worker is gone, and with it its node."""
        self.failures.pop(worker, None)
        for name, address in list(self.addresses.items()):
            if address == worker:
                self.node_down(name, "its Dask worker is gone")

    def node_down(self, name: str, reason: str) -> None:
        """A node is gone, or counts as dead."""
        self.addresses.pop(name, None)
        self.watch.liveness.gone(name)
        if self.store is not None:
            self.dispatch(self.store.node_down(name, reason, self.now()))

    def log_event(self, topic: str, msg: Any) -> None:
        """A worker's status has changed: one that is about to close gets no more work."""
        status = msg.get("status") if isinstance(msg, dict) else None
        if status is not None and self.elastic is not None:
            self.elastic.status_changed(topic, status)

    def valid_workers_downscaling(self, scheduler: Any, workers: list[Any]) -> list[Any]:
        """Those of these workers that may be closed."""
        try:
            return self.elastic.may_close(workers) if self.elastic is not None else workers
        except Exception:
            logger.exception("which workers may be closed is not known")
            return []

    def restart(self, scheduler: Any) -> None:
        """`Client.restart`: Dask has forgotten all keys, and the workers are about to go."""
        self.kept.clear()
        if self.store is not None:
            for name in list(self.addresses):
                self.store.leases.drain_node(name)

    def figures(self) -> dict[str, dict[str, Any]]:
        """What each node has measured of itself, by its name."""
        return {
            name: dask.figures(self.scheduler, address) for name, address in self.addresses.items()
        }

    def metrics(self) -> list[Family]:
        """All metrics, for Prometheus."""
        assert self.store is not None and self.records is not None
        counts, failures = self.records.counts, self.records.failures
        return cluster_metrics.families(self.store, counts, failures, self.figures(), self.now())

    def show_past(self) -> None:
        """The dashboard is opened for the first time."""
        if self.records is not None:
            self.records.show_past(self.addresses)

    def transition(self, key: Any, start: str, finish: str, *_: Any, **__: Any) -> None:
        """A key of Dask's has changed its state: of interest is what it forgets."""
        if finish == "forgotten":
            self.kept.forgotten(key)

    def remove_client(self, scheduler: Any, client: str) -> None:
        """A Dask client is gone; its keys are forgotten by now, if nobody else wants them."""
        self.kept.client_gone(client, scheduler.tasks)

    # -- keys -------------------------------------------------------------------------------

    def on_objects(
        self, worker: str = "", sizes: Any = None, gone: Iterable[str] = (), **_: Any
    ) -> None:
        """Keys of a node on another process's loop."""
        try:
            self.objects(worker, dict(sizes or {}), gone)
        except Exception:
            logger.exception("could not take keys of %s", worker)

    def objects(self, worker: str, sizes: dict[str, int], gone: Iterable[str]) -> None:
        """Some objects of a worker are keys from now on, others are no more."""
        dask.register_objects(self.scheduler, worker, sizes)
        dask.release_objects(self.scheduler, gone)

    # -- messages ----------------------------------------------------------------------------

    def on_up(self, worker: str = "", frames: Any = (), **_: Any) -> None:
        """Messages of the processes of a node on another process's loop."""
        try:
            for sender, frame in frames if worker not in self.watch.dead else ():
                self._inbox.append((sender, m.decode(frame)))
            self._work()
        except Exception:
            logger.exception("bad frames from %s", worker)

    def up(self, sender: str, message: Any) -> None:
        """A message of a process of a node on this very loop."""
        self._inbox.append((sender, message))
        self._work()

    def _work(self) -> None:
        """Handle what is in the inbox; what that makes nodes say comes in behind it."""
        if self._working:
            return
        self._working = True
        try:
            while self._inbox:
                sender, message = self._inbox.popleft()
                try:
                    self._handle(sender, message)
                except Exception:
                    logger.exception("could not handle %s", type(message).__name__)
        finally:
            self._working = False

    def _handle(self, sender: str, message: Any) -> None:
        store, now = self.store, self.now()
        assert store is not None
        kind = type(message)
        if kind is m.Hello:
            out, member = store.joined(sender, message, now)
            if member.kind == "driver":
                self._send(member.name, welcome(self, member))
        elif kind is m.Lost:
            out = store.lost(message, now)
        else:
            out = store.handle(sender, message, now)
        self.dispatch(out)

    def dispatch(self, out: list[Any]) -> None:
        """Carry out what the control store says."""
        for what in out:
            if type(what) is Send:
                self._send(what.to, what.message)
            elif type(what) is Record and self.records is not None:
                self.records.take(what, self.addresses.get(what.node, ""))

    def _send(self, to: str, message: Any) -> None:
        assert self.store is not None
        node = self.store.node_of(to)
        local = local_nodes.nodes.get(node)
        if local is not None and local.loop is asyncio.get_running_loop():
            local.down(to, message)
            return
        address = self.addresses.get(node)
        if node in self.gateways.lines:
            self.gateways.lines[node].send(to, message)
        elif address is not None:
            if not self._down:
                asyncio.get_running_loop().call_soon(self._flush)
            self._down.setdefault(address, []).append((to, m.encode(message)))

    def _flush(self) -> None:
        down, self._down = self._down, {}
        for address, frames in down.items():
            dask.send_to_worker(self.scheduler, address, {"op": "rod-down", "frames": frames})

    def _about_redis(self, sender: str) -> dict[str, Any]:
        """The error log's servers, with passwords; whether it is up."""
        self.log.hurry()
        return {"urls": self.log.urls, "ready": self.log.ready}

    # -- RPC ---------------------------------------------------------------------------------

    def info(self) -> dict[str, Any]:
        """For clients: the nodes and what every driver is told."""
        assert self.store is not None
        if self.elastic is not None and not self.store.leases.nodes:
            self.elastic.scaling.awaited(self.now())
        return {
            "version": __version__,
            "session": self.session,
            "failures": self.failures,
            "workers": len(self.scheduler.workers),
            "nodes": self.store.questions._about_nodes(""),
        }

    def want(self, key: Any, wanter: str) -> bool:
        """A client wants a Dask key that another client of a session has passed on to it."""
        if key not in self.scheduler.tasks:
            return False
        dask_tasks.want_object(self.scheduler, key, wanter)
        return True

    def keep(self, ids: dict[Any, bytes], keeper: str) -> None:
        """A client is about to submit Dask tasks that read these refs."""
        self.kept.keep(ids, keeper)

    # -- time -------------------------------------------------------------------------------

    @staticmethod
    def now() -> float:
        """The clock of the control store."""
        return time.monotonic()

    def tick(self) -> None:
        """Look after what nobody calls for; never raises."""
        try:
            assert self.store is not None
            now = self.now()
            self.gateways.tick(now)
            for name, address in self.addresses.items():
                busy = dask.running_tasks(self.scheduler, address)
                self.dispatch(
                    self.store._settle(
                        self.store.leases.set_external(name, busy * 10_000, now), now
                    )
                )
            self.watch.tick(now)
            self.dispatch(self.store.tick(now))
            if self.elastic is not None:
                self.elastic.tick()
        except Exception:
            logger.exception("the control store's tick failed")

    async def close(self) -> None:
        """The scheduler closes."""
        if self._ticker is not None:
            self._ticker.stop()
            self.gateways.close()
            self.packages.close()
        self._drop_metrics()
        if self.log is not None:
            self.log.close()
        if self.scheduler is not None:
            dask.disown(self.scheduler, NAME)

    def __reduce__(self) -> tuple[Any, ...]:
        return ControlPlugin, (self.session, self.node_plugin, self.redis)
