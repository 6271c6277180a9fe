"""Who is granted an executor where: the ledger of resources and the queue of demands.

A *demand* is what one owner wants of one scheduling class, as the number of leases that it
wants in all; an actor is a demand for one. Grants go to urgent demands first, then to those that
hold least, then to the oldest. Leases that others wait for are called back after `SHARE_AFTER`
seconds, so a stream of short tasks cannot keep everybody else out; and a demand that has
waited `RESERVE_AFTER` seconds has what comes free on one node kept for it, so that many
small ones cannot starve a large one.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from ray_on_dask.core import lease_checks
from ray_on_dask.core.lease_records import (
    CallBack,
    Decision,
    Demand,
    Grant,
    Key,
    Lease,
    Node,
    Unplaceable,
)
from ray_on_dask.core.policy import Policy
from ray_on_dask.core.resources import CPU, Ledger
from ray_on_dask.core.waiting import Waiting
from ray_on_dask.wire.messages import SchedulingClass

__all__ = ["CallBack", "Decision", "Demand", "Grant", "Lease", "Leases", "Node", "Unplaceable"]

#: Seconds a lease is safe from being called back for others.
SHARE_AFTER = 0.5
#: Seconds a demand waits before resources are kept for it, or people are told that it fits nowhere.
RESERVE_AFTER = 1.0
#: Demands for which all nodes are looked at in one tick.
LOOKS = 16


class Leases:
    """The state machine. `now` is a clock in seconds; methods return decisions to carry out.

    A demand that lacks leases has been tried on every node. So when a node gains room, only that
    node is looked at, for all who lack; when a demand begins to lack, only that demand, on all
    nodes. `_work` does what is due of both.
    """

    def __init__(self, policy: Policy | None = None) -> None:
        self.nodes: dict[str, Node] = {}
        self.demands: dict[Key, Demand] = {}
        self.leases: dict[int, Lease] = {}
        #: Demands that lack leases.
        self.lacking = Waiting()
        self.policy = policy or Policy()
        self._ids = itertools.count(1)
        #: Owners that are gone while leases of theirs last.
        self._gone: set[str] = set()
        #: Nodes that have gained room, and demands that have begun to lack leases, since `_work`.
        self._roomy: dict[str, Node] = {}
        self._new: dict[Key, Demand] = {}
        #: Leases that have been called back, in that order.
        self._ending: dict[int, Lease] = {}
        #: Counts changes of what the nodes have in all.
        self.version = 0
        #: Counts the times that a node has gained room.
        self.rooms = 0

    # -- nodes ---------------------------------------------------------------------

    def add_node(
        self, name: str, total: dict[str, int], now: float, labels: dict[str, str] | None = None
    ) -> list[Decision]:
        """A node has joined."""
        node = self.nodes[name] = Node(name, Ledger(dict(total)), labels or {})
        self.policy.changed(self.nodes)
        self.version += 1
        return self._room(node, now)

    def remove_node(self, name: str, now: float) -> list[Lease]:
        """A node is gone: its leases, which have ended."""
        node = self.nodes.pop(name, None)
        if node is None:
            return []
        self.policy.changed(self.nodes)
        self.version += 1
        self._roomy.pop(name, None)
        if node.reserved is not None:
            node.reserved.reserves = None
        gone = list(node.leases.values())
        for lease in gone:
            self._drop(lease, now)
        for demand in self.lacking:
            demand.warned = False
        self._try_others()
        return gone

    def _try_others(self) -> None:
        """A node is no more to be waited for: who may go elsewhere is to be tried there."""
        self._new.update((x.key, x) for x in self.lacking if x.spec.strategy[0] == "{")

    def drain_node(self, name: str, draining: bool = True) -> None:
        """Send nothing new to a node that is about to leave (or do again)."""
        node = self.nodes.get(name)
        if node is not None:
            node.draining = draining
            self.policy.changed(self.nodes)
            self._roomy[name] = node
            self.version += 1
            self._try_others()

    def set_external(self, name: str, cpu_units: int, now: float) -> list[Decision]:
        """Dask's own tasks use so much CPU of a node."""
        node = self.nodes.get(name)
        if node is None or node.ledger.external == cpu_units:
            return []
        less, node.ledger.external = cpu_units < node.ledger.external, cpu_units
        return self._room(node, now) if less else []

    def change_total(self, name: str, changes: dict[str, int], now: float) -> list[Decision]:
        """Placement groups add and take away resources of their own names."""
        node = self.nodes.get(name)
        if node is None:
            return []
        node.ledger.change_total(changes)
        self.version += 1
        return self._room(node, now)

    # -- demands ---------------------------------------------------------------------

    def demand(
        self,
        owner: str,
        number: int,
        wanted: int,
        now: float,
        *,
        spec: SchedulingClass | None = None,
        home: str = "",
        urgent: bool = False,
        locality: dict[str, int] | None = None,
        lifetime: dict[str, int] | None = None,
    ) -> list[Decision]:
        """An owner says how many leases of a class it wants in all (0 ends the demand)."""
        key = (owner, number)
        demand = self.demands.get(key)
        if demand is None:
            if spec is None:
                return []
            demand = self.demands[key] = Demand(key, owner, spec, home, lifetime=lifetime)
        if locality is not None:
            demand.locality = locality
        fresh = demand.lacks <= 0 or (urgent and not demand.urgent)
        if demand.lacks <= 0 < wanted - len(demand.leases):
            demand.since = now
        demand.wanted, demand.urgent = wanted, urgent
        self._note_lack(demand)
        if fresh and demand.lacks > 0:
            self._new[key] = demand
        return self._work(now)

    def forget_owner(self, owner: str) -> list[Lease]:
        """An owner is gone: what it wanted is forgotten; its leases have to be ended."""
        gone: list[Lease] = []
        self._gone.add(owner)
        for key in [key for key in self.demands if key[0] == owner]:
            demand = self.demands[key]
            demand.wanted = 0
            self._note_lack(demand)
            gone += demand.leases.values()
            if not demand.leases:
                self._forget(demand)
        if not gone:
            self._gone.discard(owner)
        return gone

    def cancel(self, owner: str, number: int) -> Lease | None:
        """Withdraw a demand; the lease that it already has, if any."""
        demand = self.demands.get((owner, number))
        if demand is None:
            return None
        demand.wanted = 0
        self._note_lack(demand)
        if demand.leases:
            return next(iter(demand.leases.values()))
        del self.demands[demand.key]
        return None

    def _note_lack(self, demand: Demand) -> None:
        self.lacking.note(demand)
        if demand.lacks <= 0:
            self._new.pop(demand.key, None)
            self._unreserve(demand)

    def _unreserve(self, demand: Demand) -> None:
        node, demand.reserves = demand.reserves, None
        if node is not None:
            node.reserved = None
            self._roomy[node.name] = node

    # -- granting ---------------------------------------------------------------------

    def _room(self, node: Node, now: float) -> list[Decision]:
        """A node has gained room."""
        self.rooms += 1
        self.policy.rooms = self.rooms
        self._roomy[node.name] = node
        return self._work(now)

    def _work(self, now: float) -> list[Decision]:
        """Serve those who lack on the nodes that have gained room, then those who are new."""
        out: list[Decision] = []
        while self.lacking and (self._roomy or self._new):
            if self._roomy:
                _, node = self._roomy.popitem()
                self._fill(node, now, out)
            else:
                demand = self._new.pop(next(iter(self._new)))
                self._serve(demand, now, out)
        self._roomy.clear()
        return out

    def _fill(self, node: Node, now: float, out: list[Decision]) -> None:
        """Grant what fits on a node, to the neediest first."""
        may = self.policy.may

        def fits(demand: Demand) -> bool:
            return may(demand, node, self.nodes)

        while self.lacking:
            demand = self.lacking.first(fits)
            if demand is None:
                demand = node.reserved
                if demand is None or not fits(demand):
                    return
            out.append(Grant(self._grant(demand, node, now)))

    def _serve(self, demand: Demand, now: float, out: list[Decision]) -> None:
        """Grant what fits anywhere; there is nothing for the others who lack, or they had it."""
        while demand.lacks > 0:
            node = self.policy.pick(demand, self.nodes)
            if node is None:
                if self.policy.impatient(demand):
                    out.append(Unplaceable(demand, "its node has no room for it now", fail=True))
                return
            out.append(Grant(self._grant(demand, node, now)))

    def _grant(self, demand: Demand, node: Node, now: float) -> Lease:
        held = demand.spec.resources if demand.lifetime is None else demand.lifetime
        lease = Lease(next(self._ids), demand, node, held, now)
        node.ledger.take(held)
        node.leases[lease.id] = demand.leases[lease.id] = self.leases[lease.id] = lease
        demand.since = now
        self._unreserve(demand)
        self._note_lack(demand)
        return lease

    def hold(self, name: str, units: dict[str, int], owner: str, number: int, now: float) -> Lease:
        """Take free resources of a node for something that is no process, until `ended`."""
        demand = Demand((owner, number), owner, SchedulingClass(units), "", 1, lifetime=units)
        self.demands[demand.key] = demand
        return self._grant(demand, self.nodes[name], now)

    # -- ends of leases -----------------------------------------------------------------

    def ended(self, id: int, now: float) -> list[Decision]:
        """A lease is over, for whatever reason; unknown ones are ignored (stale messages)."""
        lease = self.leases.get(id)
        if lease is None:
            return []
        self._drop(lease, now)
        return self._room(lease.node, now)

    def _drop(self, lease: Lease, now: float) -> None:
        del self.leases[lease.id]
        lease.node.leases.pop(lease.id, None)
        demand = lease.demand
        lacked = demand.lacks > 0
        demand.leases.pop(lease.id, None)
        if self._ending.pop(lease.id, None) is not None:
            demand.ending -= 1
            demand.urgent = False  # others have their turn first: a preference, never a barrier
        lease.give_back()
        if demand.lifetime is not None:
            demand.wanted = 0
        if demand.lacks > 0 and (lease.ending or not lacked):
            demand.since = now
            if not lacked:
                self._new[demand.key] = demand
        self._note_lack(demand)
        if (
            not demand.wanted
            and not demand.leases
            and (demand.lifetime is not None or demand.owner in self._gone)
        ):
            self._forget(demand)

    def _forget(self, demand: Demand) -> None:
        self.demands.pop(demand.key, None)
        owner = demand.owner
        if owner in self._gone and not any(key[0] == owner for key in self.demands):
            self._gone.discard(owner)

    def blocked(self, id: int, now: float) -> list[Decision]:
        """The lease's task waits for others: its CPU is free meanwhile."""
        lease = self.leases.get(id)
        if lease is None or lease.lent or lease.demand.lifetime is not None:
            return []
        lease.lend(now)
        return self._room(lease.node, now)

    def unblocked(self, id: int) -> None:
        """It goes on, whether or not its CPU is free; a debt is repaid before new grants."""
        lease = self.leases.get(id)
        if lease is not None:
            lease.take_back()

    # -- time ---------------------------------------------------------------------------

    def tick(self, now: float) -> list[Decision]:
        """To be called each 100 ms or so while anything is lacking."""
        out = self._work(now)
        waiting = [demand for demand in self.lacking if now - demand.since >= SHARE_AFTER
                   and not (demand.infeasible and demand.checked_at == self.version)]  # fmt: skip
        waiting.sort(key=lambda demand: demand.rank or ())
        rich = [demand for demand in self.demands.values()
                if demand.lifetime is None and len(demand.leases) > demand.ending]  # fmt: skip
        rich.sort(key=lambda demand: demand.ending - len(demand.leases))
        # Those called back long ago run long tasks: who waits cannot count on them.
        coming = sum(now - lease.ending_at < SHARE_AFTER for lease in self._ending.values())
        for demand in waiting:
            met = min(coming, demand.lacks)
            coming -= met
            out += self._share(demand, met, rich, now)
        long = (demand for demand in waiting if now - demand.since >= RESERVE_AFTER)
        for demand in itertools.islice(filter(self._due, long), LOOKS):
            self._reserve(demand)
            out += self._warn(demand)
        return out

    def _due(self, demand: Demand) -> bool:
        return not (demand.reserves or demand.leases) or demand.checked_at != self.version

    def _share(
        self, demand: Demand, met: int, rich: list[Demand], now: float
    ) -> Iterator[Decision]:
        """Call leases back of those that hold more than the waiting one will: the richest first."""
        have, lacks = len(demand.leases) + met, demand.lacks - met
        for other in rich:
            if lacks <= 0 or len(other.leases) - other.ending <= have:
                return
            if other is demand or not any(map(other.spec.resources.get, demand.takes)):
                continue
            for lease in other.leases.values():
                if lacks <= 0 or len(other.leases) - other.ending <= have:
                    break
                if now - lease.granted_at < SHARE_AFTER:
                    break
                if not lease.ending and self.policy.could(demand, lease.node, self.nodes):
                    self.call_back(lease, now)
                    yield CallBack(lease)
                    have, lacks = have + 1, lacks - 1

    def call_back(self, lease: Lease, now: float) -> None:
        """Note that a lease is to end: who decides so gives a `CallBack` as well."""
        lease.ending, lease.ending_at = True, now
        lease.demand.ending += 1
        self._ending[lease.id] = lease

    def _reserve(self, demand: Demand) -> None:
        if demand.reserves is not None or demand.leases:
            return
        able = [
            node
            for node in self.policy.able(demand, self.nodes)
            if node.reserved is None and not node.draining
        ]
        if able:
            name = next(iter(demand.spec.resources), CPU)
            node = max(able, key=lambda node: node.ledger.free.get(name, 0))
            node.reserved, demand.reserves = demand, node

    def _warn(self, demand: Demand) -> list[Decision]:
        if demand.checked_at == self.version:
            return []
        text = self.policy.why_not(demand, self.nodes)
        if text and self.policy.pinned(demand):
            return [Unplaceable(demand, text, fail=True)]
        demand.checked_at = self.version
        demand.infeasible = bool(text)
        if not text or demand.warned:
            return []
        demand.warned = True
        return [Unplaceable(demand, text)]

    def validate(self) -> None:
        """Assert what must hold between any two calls."""
        lease_checks.validate(self)
