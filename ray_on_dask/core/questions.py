"""Questions that processes ask the control store by name, and their answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ray_on_dask.core import memory_view, overview
from ray_on_dask.core.instructions import Send
from ray_on_dask.core.metrics import Metrics
from ray_on_dask.core.resources import as_floats
from ray_on_dask.core.task_graph import GraphRecords
from ray_on_dask.wire.messages import Answer, Ask

if TYPE_CHECKING:
    from ray_on_dask.core.control import ControlStore, NodeFacts


class Questions:
    """Answers what is asked rarely enough not to have a message of its own."""

    def __init__(self, store: ControlStore):
        self.store = store
        #: What the plugin knows of the session: its name, addresses.
        self.session: dict[str, Any] = {}
        self.metrics = Metrics()
        self.graphs = GraphRecords()
        #: When the question came that is being answered.
        self._now = 0.0
        self._known = {
            name.removeprefix("_about_"): getattr(self, name)
            for name in dir(self)
            if name.startswith("_about_")
        }

    def answer(self, sender: str, message: Ask, now: float) -> list[Any]:
        """The answer to one question; an unknown one is answered with an error."""
        about = self._known.get(message.what) or self.store.extra.get(message.what)
        self._now = now
        if about is None:
            return [Send(sender, Answer(message.request, None, f"unknown: {message.what}"))]
        try:
            value = about(sender, **message.args)
        except (KeyError, ValueError, TypeError) as error:
            text = str(error.args[0]) if error.args else repr(error)
            return [Send(sender, Answer(message.request, None, text))]
        return [Send(sender, Answer(message.request, value))]

    def _about_record_graph(self, sender: str, job: int, records: list[Any]) -> None:
        self.graphs.take(job, records)

    def _about_graph(self, sender: str, job: int) -> list[Any]:
        return self.graphs.of_job(job)

    def _about_logs(self, sender: str) -> list[dict[str, Any]]:
        return self.store.tally.logs.listed()

    def _about_log(self, sender: str, node: str, pid: int, after: int = 0) -> dict[str, Any]:
        return self.store.tally.logs.read(node, pid, after)

    def _about_departed(self, sender: str) -> list[dict[str, Any]]:
        return list(self.store.tally.departed)

    def _about_runtime_envs(self, sender: str) -> list[dict[str, Any]]:
        return overview.runtime_envs(self.store)

    def _about_demands(self, sender: str) -> list[dict[str, Any]]:
        return overview.demands(self.store, self._now)

    def _about_session(self, sender: str) -> dict[str, Any]:
        return self.session

    def _about_nodes(self, sender: str) -> list[dict[str, Any]]:
        return [self._node(facts) for facts in self.store.nodes.values()]

    def _about_node_address(self, sender: str, node: str) -> str:
        facts = self.store.nodes.get(node)
        if facts is None or not facts.alive:
            raise KeyError(f"node {node} is dead")
        return facts.address

    def _about_holders(self, sender: str, id: bytes, home: str) -> dict[str, Any]:
        """Nodes that have an object, as far as is known, and whether one is about to."""
        nodes = self.store.nodes
        copies = self.store.copies
        known = [*self.store.directory.node_of(id), home, *copies.home_of(id), *copies.of(id)]
        names = dict.fromkeys(known)
        alive = [x for x in names if x != sender and x in nodes and nodes[x].alive]
        coming = home in self.store.gateways.facts or home in self.store.leaving
        return {"nodes": alive, "coming": not alive and coming}

    def _about_home(self, sender: str) -> str:
        """A node for an object that a gateway hands over."""
        return self.store.gateways.home()

    def _node(self, facts: NodeFacts) -> dict[str, Any]:
        node = self.store.leases.nodes.get(facts.name)
        total = node.ledger.total if node is not None else {}
        return {
            "name": facts.name, "address": facts.address, "ip": facts.ip, "pid": facts.pid,
            "hostname": facts.hostname, "hub": facts.hub, "shm": facts.shm, "host": facts.host,
            "alive": facts.alive, "reason": facts.reason, "labels": facts.labels,
            "session_dir": facts.session_dir, "head": facts.head,
            "node_name": facts.node_name,
            "started": facts.started, "ended": facts.ended,
            "resources": as_floats(total), "draining": bool(node and node.draining),
            "executors": sum(
                x.node == facts.name and x.kind == "executor" for x in self.store.members.values()
            ),
        }  # fmt: skip

    def _about_cluster_resources(self, sender: str) -> dict[str, float]:
        return as_floats(self._sum("total"))

    def _about_available_resources(self, sender: str) -> dict[str, float]:
        return as_floats(self._sum("free"))

    def _sum(self, which: str) -> dict[str, int]:
        out: dict[str, int] = {}
        for node in self.store.leases.nodes.values():
            for name, units in getattr(node.ledger, which).items():
                out[name] = out.get(name, 0) + units
        return out

    def _about_stats(self, sender: str) -> dict[str, Any]:
        store = self.store
        return {
            "leases": len(store.leases.leases),
            "lacking": len(store.leases.lacking),
            "members": {x.name: [x.kind, x.node, x.pid, x.job] for x in store.members.values()},
            "directory": store.directory.stats(),
        }

    def _about_jobs(self, sender: str) -> list[dict[str, Any]]:
        return [
            {
                "job": job.number, "driver": job.driver, "pid": job.pid, "node": job.node,
                "started": job.started, "ended": job.ended, "namespace": job.config.namespace,
                "entrypoint": job.config.entrypoint, "runtime_env": job.config.runtime_env,
                "submission": job.config.submission,
            }
            for job in self.store.jobs.values()
        ]  # fmt: skip

    def _about_objects(self, sender: str, limit: int = 10_000) -> list[dict[str, Any]]:
        return self.store.directory.entries(limit)

    def _about_memory(self, sender: str, limit: int = 10_000) -> list[dict[str, Any]]:
        return memory_view.listed(self.store, limit)

    def _about_is_known(self, sender: str, id: bytes) -> bool:
        return id in self.store.directory

    def _about_actors(self, sender: str) -> list[dict[str, Any]]:
        return overview.actors(self.store)

    def _about_executors(self, sender: str) -> list[dict[str, Any]]:
        return overview.executors(self.store)

    def _about_usage(self, sender: str) -> list[dict[str, Any]]:
        return overview.nodes(self.store)

    def _about_record_metrics(self, sender: str, points: list[list[Any]]) -> None:
        for point in points:
            self.metrics.record(*point)

    def _about_metrics(self, sender: str) -> list[dict[str, Any]]:
        return self.metrics.listed()

    def _about_placement_groups(self, sender: str) -> list[dict[str, Any]]:
        return self.store.groups.listed()

    def _about_placement_group(self, sender: str, id: bytes) -> dict[str, Any]:
        return self.store.groups.about(id)

    def _about_find_placement_group(self, sender: str, name: str, namespace: str) -> dict[str, Any]:
        return self.store.groups.find(name, namespace)

    def _about_get_actor(self, sender: str, name: str, namespace: str) -> dict[str, Any]:
        try:
            return self.store.actors.get_actor(name, namespace)
        except ValueError:
            return {}

    def _about_named_actors(
        self, sender: str, namespace: str | None = None
    ) -> list[dict[str, str]]:
        return self.store.actors.list_named(namespace)

    def _about_reserve_actor_name(
        self, sender: str, name: str, namespace: str, actor: bytes
    ) -> dict[str, Any]:
        """{} if the name is the caller's now, else what is known of the actor that has it."""
        actors = self.store.actors
        try:
            actors.reserve_name(sender, name, namespace, actor)
        except ValueError:
            try:
                return actors.get_actor(name, namespace)
            except ValueError:  # its maker has reserved the name, and has not made it yet
                return {"actor": b""}
        return {}
