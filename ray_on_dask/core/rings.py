"""Nodes taken in turn: packed up to a threshold of use, then the one that is used least.

To find the least used of a thousand nodes for each lease would take too long. So when none is
below the threshold, all are looked at once, and what the least used one has is the *level* for
those that follow: the next one that is hardly above it will do, until there is none, or as many
leases have ended as there are nodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ray_on_dask.core.lease_records import Demand, Node

#: How much more than the least used one a node may be used, to be taken without a look at all.
STEP = 1 / 16


class Ring:
    """Some of a cluster's nodes, in an order of their own."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = list(names)
        self.members = frozenset(self.names)
        self._at = 0
        #: {resource: share in use up to which a node is taken without a look at the others}.
        self._levels: dict[str, float] = {}
        self._rooms = 0

    def next(self, demand: Demand, nodes: Mapping[str, Node]) -> Node | None:
        """The first with room after the one that was taken last."""
        count = len(self.names)
        for step in range(1, count + 1):
            at = (self._at + step) % count
            node = nodes[self.names[at]]
            if fits(node, demand) and takes(node, demand):
                self._at = at
                return node
        return None

    def packed(
        self, demand: Demand, nodes: Mapping[str, Node], threshold: float, rooms: int
    ) -> Node | None:
        """The one filled last, while less than `threshold` of it is in use; else the least used.

        `rooms` counts the times that a node has gained room.
        """
        count = len(self.names)
        if rooms - self._rooms > count:
            self._levels.clear()
        critical = next(iter(demand.takes), "")
        level = self._levels.get(critical, threshold)
        home = nodes.get(demand.home)
        best: Node | None = None
        best_at, least = self._at, 2.0
        for step in range(count):
            at = (self._at + step) % count
            node = nodes[self.names[at]]
            if not fits(node, demand) or not takes(node, demand):
                continue
            used = share_used(node, demand)
            if used < level:
                self._at = at
                return node
            if used < least or (used == least and node is home):
                best, best_at, least = node, at, used
        if best is not None:
            self._at, self._rooms = best_at, rooms
            self._levels[critical] = max(threshold, least + STEP)
        return best


def share_used(node: Node, demand: Demand) -> float:
    """How much of a node is in use, of the resource that the demand takes and it lacks most."""
    ledger, most = node.ledger, 0.0
    for name in demand.takes:
        total = ledger.total.get(name, 0)
        if total > 0:
            most = max(most, 1.0 - ledger.free.get(name, 0) / total)
    return most


def fits(node: Node, demand: Demand) -> bool:
    """Whether a node has room: an actor needs what it holds free, and what places it in all."""
    ledger = node.ledger
    if demand.lifetime is None:
        return ledger.fits(demand.spec.resources)
    return ledger.fits(demand.lifetime) and ledger.could_fit(demand.spec.resources)


def takes(node: Node, demand: Demand) -> bool:
    """Whether a node takes new leases of this demand, room or not."""
    if node.draining or (demand.home in node.shunned and demand.lifetime is None):
        return False
    kept = node.reserved
    if kept is None or kept is demand or demand.urgent:
        return True
    needed, kept_needs, free = demand.takes, kept.takes, node.ledger.free
    return all(free.get(name, 0) - units >= kept_needs.get(name, 0)
               for name, units in needed.items() if units and name in kept_needs)  # fmt: skip
