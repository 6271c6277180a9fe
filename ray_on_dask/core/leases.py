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
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ray_on_dask.core.policy import Policy
from ray_on_dask.core.resources import CPU, Ledger
from ray_on_dask.wire.messages import SchedulingClass

#: Seconds a lease is safe from being called back for others.
SHARE_AFTER = 0.5
#: Seconds a demand waits before resources are kept for it.
RESERVE_AFTER = 1.0
#: Seconds after which people are told that a demand fits nowhere.
WARN_AFTER = 1.0

Key = tuple[str, int]


@dataclass(slots=True, eq=False)
class Node:
    """A node as the ledger sees it."""

    name: str
    ledger: Ledger
    labels: dict[str, str] = field(default_factory=dict)
    leases: dict[int, Lease] = field(default_factory=dict)
    #: It is about to leave: nothing new goes there.
    draining: bool = False
    #: The demand for which what comes free here is kept.
    reserved: Demand | None = None


@dataclass(slots=True, eq=False)
class Demand:
    """What one owner wants of one class, or what one actor needs to be placed."""

    key: Key
    owner: str
    spec: SchedulingClass
    home: str
    wanted: int = 0
    urgent: bool = False
    locality: dict[str, int] = field(default_factory=dict)
    leases: dict[int, Lease] = field(default_factory=dict)
    #: When it began to want more than it has.
    since: float = 0.0
    #: Held for life once granted, in place of `spec.resources` (actors).
    lifetime: dict[str, int] | None = None
    #: State of the ledgers at which nothing could be granted.
    stuck_at: int = -1
    warned: bool = False

    @property
    def lacks(self) -> int:
        """Leases wanted and not granted."""
        return self.wanted - len(self.leases)


@dataclass(slots=True, eq=False)
class Lease:
    """A granted lease."""

    id: int
    demand: Demand
    node: Node
    held: dict[str, int]
    granted_at: float
    #: CPU units that its blocked task has lent.
    lent: int = 0
    #: It has been called back.
    ending: bool = False
    executor: str = ""


@dataclass(slots=True, frozen=True)
class Grant:
    """Have the node start this lease."""

    lease: Lease


@dataclass(slots=True, frozen=True)
class CallBack:
    """Have the executor end this lease at the next task boundary."""

    lease: Lease


@dataclass(slots=True, frozen=True)
class Unplaceable:
    """No node there is can ever serve this demand; `fail` if it must not wait for one to come."""

    demand: Demand
    text: str
    fail: bool = False


Decision = Grant | CallBack | Unplaceable


class Leases:
    """The state machine. `now` is a clock in seconds; methods return decisions to carry out."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.nodes: dict[str, Node] = {}
        self.demands: dict[Key, Demand] = {}
        self.leases: dict[int, Lease] = {}
        #: Demands that lack leases, by key, oldest first.
        self.lacking: dict[Key, Demand] = {}
        self.policy = policy or Policy()
        self._ids = itertools.count(1)
        #: Owners that are gone while leases of theirs last.
        self._gone: set[str] = set()
        #: Counts changes that may make room.
        self._version = 0

    # -- nodes ---------------------------------------------------------------------

    def add_node(
        self, name: str, total: dict[str, int], now: float, labels: dict[str, str] | None = None
    ) -> list[Decision]:
        """A node has joined."""
        self.nodes[name] = Node(name, Ledger(dict(total)), labels or {})
        self.policy.changed(self.nodes)
        return self._room(now)

    def remove_node(self, name: str) -> list[Lease]:
        """A node is gone: its leases, which have ended."""
        node = self.nodes.pop(name, None)
        if node is None:
            return []
        self.policy.changed(self.nodes)
        gone = list(node.leases.values())
        for lease in gone:
            self._drop(lease)
        return gone

    def drain_node(self, name: str, draining: bool = True) -> None:
        """Send nothing new to a node that is about to leave (or do again)."""
        node = self.nodes.get(name)
        if node is not None:
            node.draining = draining
            self.policy.changed(self.nodes)

    def set_external(self, name: str, cpu_units: int, now: float) -> list[Decision]:
        """Dask's own tasks use so much CPU of a node."""
        node = self.nodes.get(name)
        if node is None or node.ledger.external == cpu_units:
            return []
        less = cpu_units < node.ledger.external
        node.ledger.external = cpu_units
        return self._room(now) if less else []

    def change_total(self, name: str, changes: dict[str, int], now: float) -> list[Decision]:
        """Placement groups add and take away resources of their own names."""
        node = self.nodes.get(name)
        if node is None:
            return []
        node.ledger.change_total(changes)
        return self._room(now)

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
        demand.urgent = urgent
        if demand.lacks <= 0 < wanted - len(demand.leases):
            demand.since = now
            demand.stuck_at = -1
        demand.wanted = wanted
        self._note_lack(demand)
        return self._serve(demand, now)

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
                del self.demands[key]
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
        if demand.lacks > 0:
            self.lacking.setdefault(demand.key, demand)
        else:
            self.lacking.pop(demand.key, None)
            self._unreserve(demand)

    def _unreserve(self, demand: Demand) -> None:
        for node in self.nodes.values() if demand.since else ():
            if node.reserved is demand:
                node.reserved = None

    # -- granting ---------------------------------------------------------------------

    def _room(self, now: float) -> list[Decision]:
        """Something may fit that did not: serve those who lack, in their order."""
        self._version += 1
        if not self.lacking:
            return []
        out: list[Decision] = []
        for demand in sorted(self.lacking.values(), key=self._rank):
            out += self._serve(demand, now)
        return out

    @staticmethod
    def _rank(demand: Demand) -> tuple[bool, int, float]:
        return (not demand.urgent, len(demand.leases), demand.since)

    def _serve(self, demand: Demand, now: float) -> list[Decision]:
        """Grant what fits, but no more than an even share while others lack too."""
        if demand.stuck_at == self._version:
            return []
        out: list[Decision] = []
        others = len(self.lacking) > 1
        while demand.lacks > 0:
            node = self.policy.pick(demand, self.nodes)
            if node is None:
                demand.stuck_at = self._version
                break
            out.append(Grant(self._grant(demand, node, now)))
            if others and not demand.urgent and demand.lacks > 0:
                others = False
                out += self._serve_others(demand, now)
        self._note_lack(demand)
        return out

    def _serve_others(self, demand: Demand, now: float) -> list[Decision]:
        out: list[Decision] = []
        for other in sorted(self.lacking.values(), key=self._rank):
            if other is not demand and other.stuck_at != self._version:
                if len(other.leases) < len(demand.leases):
                    out += self._serve(other, now)
        return out

    def _grant(self, demand: Demand, node: Node, now: float) -> Lease:
        held = demand.spec.resources if demand.lifetime is None else demand.lifetime
        lease = Lease(next(self._ids), demand, node, held, now)
        node.ledger.take(held)
        node.leases[lease.id] = demand.leases[lease.id] = self.leases[lease.id] = lease
        demand.since = now
        if node.reserved is demand:
            node.reserved = None
        return lease

    # -- ends of leases -----------------------------------------------------------------

    def ended(self, id: int, now: float) -> list[Decision]:
        """A lease is over, for whatever reason; unknown ones are ignored (stale messages)."""
        lease = self.leases.get(id)
        if lease is None:
            return []
        self._drop(lease)
        return self._room(now)

    def _drop(self, lease: Lease) -> None:
        del self.leases[lease.id]
        lease.node.leases.pop(lease.id, None)
        demand = lease.demand
        demand.leases.pop(lease.id, None)
        held = dict(lease.held)
        if lease.lent:
            held[CPU] = held.get(CPU, 0) - lease.lent
        lease.node.ledger.give(held)
        if demand.lifetime is not None:
            demand.wanted = 0
        self._note_lack(demand)
        if not demand.wanted and not demand.leases and (
            demand.lifetime is not None or demand.owner in self._gone
        ):
            self.demands.pop(demand.key, None)

    def blocked(self, id: int, now: float) -> list[Decision]:
        """The lease's task waits for others: its CPU is free meanwhile."""
        lease = self.leases.get(id)
        if lease is None or lease.lent or lease.demand.lifetime is not None:
            return []
        units = lease.held.get(CPU, 0)
        if not units:
            return []
        lease.lent = units
        lease.node.ledger.give({CPU: units})
        return self._room(now)

    def unblocked(self, id: int) -> None:
        """It goes on, whether or not its CPU is free; a debt is repaid before new grants."""
        lease = self.leases.get(id)
        if lease is not None and lease.lent:
            lease.node.ledger.take({CPU: lease.lent})
            lease.lent = 0

    # -- time ---------------------------------------------------------------------------

    def tick(self, now: float) -> list[Decision]:
        """To be called each 100 ms or so while anything is lacking."""
        out: list[Decision] = []
        for demand in sorted(self.lacking.values(), key=self._rank):
            waited = now - demand.since
            if waited >= SHARE_AFTER:
                out += self._share(demand, now)
            if waited >= RESERVE_AFTER:
                self._reserve(demand)
            if waited >= WARN_AFTER and not demand.warned:
                out += self._warn(demand)
        return out + self._room(now)

    def _share(self, demand: Demand, now: float) -> Iterator[Decision]:
        """Call back leases of those that hold more than the waiting one would."""
        lacking = demand.lacks
        for lease in self._callable(demand, now):
            if lacking <= 0:
                return
            lease.ending = True
            lacking -= 1
            yield CallBack(lease)

    def _callable(self, demand: Demand, now: float) -> Iterable[Lease]:
        """Leases that may be called back for a demand: of the richest first, oldest first."""
        have = len(demand.leases) + sum(
            lease.ending for node in self.nodes.values() for lease in node.leases.values()
        )
        richer = [
            other for other in self.demands.values()
            if other is not demand and other.lifetime is None and len(other.leases) > have
        ]  # fmt: skip
        for other in sorted(richer, key=lambda other: -len(other.leases)):
            spare = len(other.leases) - have
            for lease in list(other.leases.values()):
                if spare <= 0:
                    break
                if now - lease.granted_at < SHARE_AFTER or lease.ending:
                    continue
                if not lease.node.ledger.could_fit(demand.spec.resources):
                    continue
                if not any(lease.held.get(name) for name in demand.spec.resources):
                    continue
                spare -= 1
                yield lease

    def _reserve(self, demand: Demand) -> None:
        if any(node.reserved is demand for node in self.nodes.values()):
            return
        able = [
            node for node in self.nodes.values()
            if node.reserved is None and not node.draining
            and node.ledger.could_fit(demand.spec.resources)
        ]  # fmt: skip
        if able:
            name = next(iter(demand.spec.resources), CPU)
            max(able, key=lambda node: node.ledger.free.get(name, 0)).reserved = demand

    def _warn(self, demand: Demand) -> list[Decision]:
        demand.warned = True
        text = self.policy.why_not(demand, self.nodes)
        return [Unplaceable(demand, text)] if text else []

    def validate(self) -> None:
        """Assert what must hold between any two calls."""
        for node in self.nodes.values():
            node.ledger.validate()
            used: dict[str, int] = {}
            for lease in node.leases.values():
                assert self.leases[lease.id] is lease and lease.node is node
                for name, units in lease.held.items():
                    used[name] = used.get(name, 0) + units
                used[CPU] = used.get(CPU, 0) - lease.lent
            for name, total in node.ledger.total.items():
                assert node.ledger.free.get(name, 0) == total - used.get(name, 0), name
        for key, demand in self.demands.items():
            assert demand.key == key
            assert (demand.lacks > 0) == (key in self.lacking), (key, demand.wanted)
            assert demand.leases or demand.owner not in self._gone
