"""How many nodes the cluster should have, which of them may go, and how one is let go.

What is free on the nodes there are is filled with the demand that waits, the rest goes to
imagined nodes like the last one that joined. Demand that such nodes could not serve either makes
none come. Nothing is decided about which nodes come and go: whoever scales the cluster asks
`nodes_wanted` and `busy`.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ray_on_dask.core.labels import labels_match
from ray_on_dask.core.lease_records import CallBack, Demand, Node
from ray_on_dask.core.resources import CPU, UNITS, Ledger, to_units

if TYPE_CHECKING:
    from ray_on_dask.core.control import ControlStore
    from ray_on_dask.core.group_record import Group

#: Seconds that demand waits before nodes are wanted for it: short tasks are over by then.
PATIENCE = 0.5
#: Nodes beyond those there are that are wanted at most; whoever scales has a limit of its own.
MOST_NEW = 1_000
#: Seconds for which somebody who looked for a node, and found none, counts as waiting for one.
AWAITED = 5.0

Units = Mapping[str, int]


def _size(kind: tuple[tuple[tuple[str, int], ...], int]) -> tuple[int, int]:
    """Rare resources first, then much of any."""
    return len(kind[0]), sum(units for _, units in kind[0])


class _Bins:
    """Nodes that are being filled, those there are and imagined ones."""

    def __init__(self, model: Node | None) -> None:
        self.model = model
        #: {node, or number of an imagined one: what is free there}.
        self.free: dict[Any, dict[str, int]] = {}
        self.used: set[Any] = set()
        self.new = 0

    def put(self, need: Units, count: int, but: set[Any] | None = None) -> None:
        """Place so many; with `but`, on different nodes that are not among these."""
        for name, free in self.free.items():
            if not count:
                return
            if but is None or name not in but:
                count -= self._fill(name, free, need, count if but is None else 1, but)
        while count and self.new < MOST_NEW and self._serves(need):
            assert self.model is not None
            self.new += 1
            free = self.free[self.new] = dict(self.model.ledger.total)
            count -= self._fill(self.new, free, need, count if but is None else 1, but)

    def _serves(self, need: Units) -> bool:
        return self.model is not None and self.model.ledger.could_fit(need)

    def _fill(
        self, name: Any, free: dict[str, int], need: Units, most: int, but: set[Any] | None
    ) -> int:
        times = min((free.get(x, 0) // units for x, units in need.items() if units > 0),
                    default=most)  # fmt: skip
        times = max(0, min(times, most))
        if times:
            for x, units in need.items():
                free[x] = free.get(x, 0) - units * times
            self.used.add(name)
            if but is not None:
                but.add(name)
        return times


class Scaling:
    """What the control store's state says about the size of its cluster."""

    def __init__(self, store: ControlStore) -> None:
        self.store = store
        #: What is to fit on the cluster whether or not it is wanted now: [units].
        self.requested: list[dict[str, int]] = []
        self._model: Node | None = None
        self._awaited = -AWAITED

    # -- what is wanted ----------------------------------------------------------------

    def request(self, num_cpus: int, bundles: Iterable[Mapping[str, float]]) -> None:
        """Have so much fit on the cluster from now on, in place of what was requested before."""
        self.requested = [{CPU: UNITS}] * num_cpus + [
            {name: to_units(quantity) for name, quantity in bundle.items() if quantity}
            for bundle in bundles
        ]

    def awaited(self, now: float) -> None:
        """Somebody looks for a node."""
        self._awaited = now

    def nodes_wanted(self, now: float, busy: set[str]) -> int:
        """How many nodes serve what runs on the `busy` ones, what waits, and what is requested."""
        self._remember()
        bins = self._bins("free")
        bins.used |= busy & bins.free.keys()
        for demand in self.store.leases.lacking:
            self._add_demand(bins, demand, now)
        for groups in self.store.groups.pending.values():
            for group in groups.values():
                self._add_group(bins, group)
        wanted = max(len(bins.used), self._for_requests())
        if not wanted and self._waits_for_any(now):
            return 1
        return wanted

    def _waits_for_any(self, now: float) -> bool:
        """Whether the first node is wanted, of which nobody knows yet what it will have."""
        if now - self._awaited < AWAITED:
            return True
        unknown = self._model is None
        store = self.store
        return unknown and bool(store.leases.lacking or store.groups.pending or self.requested)

    def _remember(self) -> None:
        """The last node that joined is what the next one will be like."""
        nodes = self.store.leases.nodes
        last = next(reversed(nodes), None)
        if last is not None:
            node = nodes[last]
            total = {
                name: units for name, units in node.ledger.total.items()
                if "_group_" not in name and not name.startswith("node:")
            }  # fmt: skip
            labels = {k: v for k, v in node.labels.items() if k != "ray.io/node-id"}
            self._model = Node("", Ledger(total), labels)

    def _bins(self, which: str) -> _Bins:
        bins = _Bins(self._model)
        for node in self.store.leases.nodes.values():
            if not node.draining:
                free = bins.free[node.name] = dict(getattr(node.ledger, which))
                free[CPU] = free.get(CPU, 0) - (node.ledger.external if which == "free" else 0)
        return bins

    def _add_demand(self, bins: _Bins, demand: Demand, now: float) -> None:
        fresh = now - demand.since < PATIENCE and bool(self.store.leases.nodes)
        if demand.within or fresh or self.store.leases.policy.pinned(demand):
            return
        model = bins.model
        if model is None or not model.ledger.could_fit(demand.needs):
            return
        strategy = demand.spec.strategy
        if strategy[0] == "{":
            fields = self.store.leases.policy.parse(strategy)
            choices = [fields.get("hard", {}), *fields.get("fallback", ())]
            if not any(labels_match(model.labels, labels) for labels in choices):
                return
        bins.put(demand.takes or demand.needs, demand.lacks)

    @staticmethod
    def _add_group(bins: _Bins, group: Group) -> None:
        missing = group.missing()
        if group.strategy == "STRICT_PACK":
            total: dict[str, int] = {}
            for units in missing.values():
                for name, amount in units.items():
                    total[name] = total.get(name, 0) + amount
            bins.put(total, 1)
            return
        taken: set[Any] = {seat.node for seat in group.seats.values()}
        for units in missing.values():
            bins.put(units, 1, taken if group.strategy == "STRICT_SPREAD" else None)

    def _for_requests(self) -> int:
        if not self.requested:
            return 0
        bins = self._bins("total")
        kinds: dict[tuple[tuple[str, int], ...], int] = {}
        for units in self.requested:
            kind = tuple(sorted(units.items()))
            kinds[kind] = kinds.get(kind, 0) + 1
        for kind, count in sorted(kinds.items(), key=_size, reverse=True):
            bins.put(dict(kind), count)
        return len(bins.used)

    # -- what may go -------------------------------------------------------------------

    def busy(self) -> set[str]:
        """Nodes on which something runs or is held, and those that drivers or owners hang on."""
        store = self.store
        busy = {node.name for node in store.leases.nodes.values()
                if node.leases or node.ledger.external}  # fmt: skip
        busy |= {member.node for member in store.members.values() if member.kind == "driver"}
        busy |= {store.node_of(owner) for owner in store.directory.owing()}
        return busy

    def in_use(self) -> bool:
        """Whether anybody is there, or anything runs."""
        members = self.store.members.values()
        return bool(self.store.leases.leases) or any(x.kind == "driver" for x in members)

    # -- letting go --------------------------------------------------------------------

    def drain(self, name: str, draining: bool, now: float) -> list[Any]:
        """A node is about to leave: nothing new goes there, tasks' leases end with their tasks."""
        leases = self.store.leases
        node = leases.nodes.get(name)
        if node is None or node.draining == draining:
            return []
        leases.drain_node(name, draining)
        out: list[Any] = []
        for lease in list(node.leases.values()) if draining else ():
            if lease.demand.lifetime is None and not lease.ending:
                leases.call_back(lease, now)
                out.append(CallBack(lease))
        return out

    def drivers_on(self, name: str) -> list[str]:
        """The drivers that hang on a node, and end with it."""
        members = self.store.members.values()
        return [x.name for x in members if x.kind == "driver" and x.node == name]

    def others_than(self, names: Container[str]) -> bool:
        """Whether there are nodes but these."""
        return any(node not in names for node in self.store.leases.nodes)

    def runs_tasks(self, name: str) -> bool:
        """Whether leases of tasks are still on a node."""
        node = self.store.leases.nodes.get(name)
        return node is not None and any(x.demand.lifetime is None for x in node.leases.values())
