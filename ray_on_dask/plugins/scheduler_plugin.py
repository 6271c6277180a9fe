"""The control store within the Dask scheduler: carries messages in, instructions out."""

from __future__ import annotations

import logging
import time
from collections import deque
from typing import Any

from distributed.diagnostics.plugin import SchedulerPlugin
from tornado.ioloop import PeriodicCallback

from ray_on_dask.core.control import ControlStore, Member, NodeFacts, Record
from ray_on_dask.core.instructions import Send
from ray_on_dask.plugins import _dask_compat as dask
from ray_on_dask.plugins import local_nodes
from ray_on_dask.plugins.errors import make_error
from ray_on_dask.plugins.records import Records
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
    """

    name = NAME
    idempotent = True

    def __init__(self, session: dict[str, Any] | None = None, node: Any = None):
        self.session = session or {}
        self.node_plugin = node
        self.scheduler: Any = None
        self.store: ControlStore | None = None
        self.records: Records | None = None
        self._inbox: deque[tuple[str, Any]] = deque()
        self._working = False
        self._addresses: dict[str, str] = {}
        self._ticker: PeriodicCallback | None = None

    async def start(self, scheduler: Any) -> None:
        """Take part in a scheduler; a second plugin of the kind leaves it to the first."""
        if not dask.claim(scheduler, NAME, self):
            return
        missing = dask.check(scheduler)
        if missing:
            raise RuntimeError(f"this release of distributed lacks {', '.join(missing)}")
        self.scheduler = scheduler
        self.store = ControlStore(make_error)
        self.records = Records(scheduler, self.session)
        self.session.setdefault("session_name", f"session_{time.strftime('%Y-%m-%d_%H-%M-%S')}")
        dask.on_rpc(scheduler, {"rod_info": self.info, "rod_want": self.want})
        dask.on_stream(scheduler, {"rod-up": self.on_up, "rod-node": self.on_node})
        self._ticker = PeriodicCallback(self.tick, TICK * 1000)
        self._ticker.start()
        if self.node_plugin is not None:
            from distributed.protocol.pickle import dumps

            await scheduler.register_worker_plugin(
                None, dumps(self.node_plugin), self.node_plugin.name, idempotent=True
            )

    # -- nodes ---------------------------------------------------------------------------

    def on_node(self, worker: str = "", facts: Any = None, **_: Any) -> None:
        """A worker says that it is a node now."""
        try:
            self.node_up(worker, dict(facts))
        except Exception:
            logger.exception("node at %s could not join", worker)

    def node_up(self, address: str, facts: dict[str, Any]) -> None:
        """A node has joined."""
        assert self.store is not None
        self._addresses[facts["name"]] = address
        dask.hurry_stream(self.scheduler, address)
        self._dispatch(self.store.node_up(NodeFacts(address=address, **facts), self.now()))

    def remove_worker(self, scheduler: Any, worker: str, **_: Any) -> None:
        """A Dask worker is gone, and with it its node."""
        for name, address in list(self._addresses.items()):
            if address == worker and self.store is not None:
                del self._addresses[name]
                self._dispatch(self.store.node_down(name, "its Dask worker is gone", self.now()))

    # -- messages ----------------------------------------------------------------------------

    def on_up(self, worker: str = "", frames: Any = (), **_: Any) -> None:
        """Messages of the processes of a node on another process's loop."""
        try:
            for sender, frame in frames:
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
                self._welcome(member)
        elif kind is m.Lost:
            out = store.lost(message, now)
        else:
            out = store.handle(sender, message, now)
        self._dispatch(out)

    def _welcome(self, member: Member) -> None:
        import msgspec

        assert self.store is not None
        facts = self.store.nodes[member.node]
        session = {
            **self.session,
            "scheduler_address": self.scheduler.address,
            "session_dir": facts.session_dir, "shm": facts.shm, "ip": facts.ip,
            "capacity": facts.resources.get("object_store_memory", 0) // 10_000,
            "cluster": self.store.questions._sum("total"),
        }  # fmt: skip
        self._send(member.name, m.Welcome(member.job, member.node, msgspec.json.encode(session).decode()))

    def _dispatch(self, out: list[Any]) -> None:
        for what in out:
            if type(what) is Send:
                self._send(what.to, what.message)
            elif type(what) is Record and self.records is not None:
                self.records.take(what, self._addresses.get(what.node, ""))

    def _send(self, to: str, message: Any) -> None:
        assert self.store is not None
        node = self.store.node_of(to)
        local = local_nodes.nodes.get(node)
        if local is not None:
            local.down(to, message)
            return
        address = self._addresses.get(node)
        if address is not None:
            dask.send_to_worker(
                self.scheduler, address,
                {"op": "rod-down", "frames": [(to, m.encode(message))]},
            )  # fmt: skip

    # -- RPC ---------------------------------------------------------------------------------

    def info(self) -> dict[str, Any]:
        """For clients: the nodes and what every driver is told."""
        assert self.store is not None
        return {
            "session": self.session,
            "nodes": self.store.questions._about_nodes(""),
        }

    def want(self, key: str, client: str) -> bool:
        """A client wants the value of a ref as a Dask key; whether there is such a key."""
        if key not in self.scheduler.tasks:
            return False
        dask.want_object(self.scheduler, key, client)
        return True

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
            for name, address in self._addresses.items():
                busy = dask.running_tasks(self.scheduler, address)
                self._dispatch(
                    self.store._settle(
                        self.store.leases.set_external(name, busy * 10_000, now), now
                    )
                )
            self._dispatch(self.store.tick(now))
            if self.store.leases.leases:
                dask.keep_awake(self.scheduler)
        except Exception:
            logger.exception("the control store's tick failed")

    async def close(self) -> None:
        """The scheduler closes."""
        if self._ticker is not None:
            self._ticker.stop()
        if self.records is not None:
            self.records.close()
        if self.scheduler is not None:
            dask.disown(self.scheduler, NAME)
