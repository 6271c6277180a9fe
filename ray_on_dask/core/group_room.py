"""What placement groups take from nodes, give back to them, and wait for on them.

A group that has waited for `SHARE_AFTER` seconds is given room: leases of tasks are called back on
the nodes where it would fit without them, and what comes free there is kept for it. One group at
a time is helped so, the oldest that can be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ray_on_dask.core.bundles import Plan, Units
from ray_on_dask.core.group_record import Group, Seat, label_name
from ray_on_dask.core.labels import Selector, labels_match
from ray_on_dask.core.lease_records import CallBack, Demand, Node
from ray_on_dask.core.leases import SHARE_AFTER, Leases
from ray_on_dask.core.resources import CPU, UNITS, group_names
from ray_on_dask.wire.messages import SchedulingClass

Out = list[Any]
Room = dict[str, dict[str, int]]

#: Units of its own resource that a group has for each bundle: what needs nothing else takes some.
BUNDLE_UNITS = 1000 * UNITS
#: Of what stands for a node's labels: more than there are bundles.
ANY_AMOUNT = 1 << 40


class GroupRoom:
    """The ledger of leases, as placement groups use it."""

    def __init__(self, leases: Leases) -> None:
        self.leases = leases
        #: The group for which room is being kept, and its stand-in on each node that keeps some.
        self._helped: Group | None = None
        self._keepers: dict[str, Demand] = {}
        #: The node on which the last of the bundles that were packed is.
        self._packed = ""

    # -- what there is -----------------------------------------------------------------

    def free(self, group: Group) -> Room:
        """What each node could give now, in the order of preference of the group's strategy."""
        return self._measure(group, lambda node: node.ledger.free)

    def total(self, group: Group) -> Room:
        """What each node could give if nothing were taken."""
        return self._measure(group, lambda node: node.ledger.total)

    def _measure(self, group: Group, measure: Callable[[Node], Units]) -> Room:
        names = list({name for bundle in group.bundles for name in bundle})
        room, sums = {}, {}
        for node in self.leases.nodes.values():
            if node.draining:
                continue
            have = measure(node)
            offer = {name: have.get(name, 0) for name in names}
            if node.reserved is not None or node.ledger.external:
                for name in names:
                    offer[name] -= self._spoken_for(node, name, group)
            room[node.name], sums[node.name] = offer, sum(offer.values())
        order = sorted(room, key=sums.__getitem__, reverse=group.strategy.endswith("SPREAD"))
        for selector in filter(None, group.selectors):
            self._mark(room, selector)
        return {name: room[name] for name in order}

    def _mark(self, room: Room, selector: Selector) -> None:
        """Give the nodes that have the labels what stands for them."""
        mark = label_name(selector)
        for name, units in room.items():
            if labels_match(self.leases.nodes[name].labels, selector):
                units[mark] = ANY_AMOUNT

    def _spoken_for(self, node: Node, name: str, group: Group) -> int:
        """What a node keeps for others, or Dask's own tasks use."""
        kept = node.reserved
        units = node.ledger.external if name == CPU else 0
        if kept is None or (group is self._helped and kept is self._keepers.get(node.name)):
            return units
        return units + kept.takes.get(name, 0)

    def at_the_last(self, group: Group) -> Plan | None:
        """All bundles on the node that was packed last, without a look at the others.

        So a thousand small groups are not a thousand times a look at all nodes.
        """
        node = self.leases.nodes.get(self._packed)
        alone = not (group.seats or group.target or group.selectors)
        if node is None or not alone or group.strategy.endswith("SPREAD"):
            return None
        if node.draining or node.reserved is not None:
            return None
        total: dict[str, int] = {}
        for units in group.bundles:
            _add(total, units, 1)
        return (
            dict.fromkeys(range(len(group.bundles)), node.name) if node.ledger.fits(total) else None
        )

    # -- taking and giving -------------------------------------------------------------

    def take(self, group: Group, found: Plan, now: float) -> Out:
        """Seat the bundles as planned; the group's own resources appear on their nodes."""
        out = self.let_go(group, now)
        gains: dict[str, dict[str, int]] = {}
        for index, name in found.items():
            units = group.bundles[index]
            lease = self.leases.hold(name, units, f"group:{group.hex}", index, now)
            group.seats[index] = Seat(name, lease.id)
            _add(gains.setdefault(name, {}), _own(group, index), 1)
        if not group.strategy.endswith("SPREAD"):
            self._packed = next(reversed(gains), "")
        for name, gained in gains.items():
            out += self.leases.change_total(name, gained, now)
        return out

    def give(self, group: Group, now: float) -> Out:
        """Give back the bundles on nodes where nothing of the group's own is in use."""
        by_node: dict[str, list[int]] = {}
        for index, seat in group.seats.items():
            by_node.setdefault(seat.node, []).append(index)
        out: Out = []
        for name, indices in by_node.items():
            losses: dict[str, int] = {}
            for index in indices:
                _add(losses, _own(group, index), -1)
            ledger = self.leases.nodes[name].ledger
            if all(ledger.free.get(own, 0) == -units for own, units in losses.items()):
                out += self.leases.change_total(name, losses, now)
                for index in indices:
                    out += self.leases.ended(group.seats.pop(index).lease, now)
        return out

    # -- making room -------------------------------------------------------------------

    def make(self, group: Group, fits: Callable[[Room], Plan | None], now: float) -> Out:
        """Call leases back, and keep what comes free, for a group that has waited for long."""
        if now - group.since < SHARE_AFTER:
            return []
        if self._helped is not group:
            out = self.let_go(self._helped, now)
            found = fits(self._measure(group, _without_tasks))
            if found is None:
                return out
            self._helped = group
            self._keep(group, found)
        else:
            out = []
        for node in self._keeping():
            out += self._call_back(node, group, now)
        return out

    def _keep(self, group: Group, found: Plan) -> None:
        takes: dict[str, dict[str, int]] = {}
        for index, name in found.items():
            _add(takes.setdefault(name, {}), group.bundles[index], 1)
        for name, units in takes.items():
            node = self.leases.nodes[name]
            if node.reserved is None:
                node.reserved = self._keepers[name] = _keeper(group, units)

    def _keeping(self) -> list[Node]:
        nodes = [self.leases.nodes.get(name) for name in self._keepers]
        return [node for node in nodes if node and node.reserved is self._keepers[node.name]]

    def _call_back(self, node: Node, group: Group, now: float) -> Out:
        out: Out = []
        names = {name for bundle in group.missing().values() for name in bundle}
        for lease in node.leases.values():
            old = now - lease.granted_at >= SHARE_AFTER and not lease.ending
            if old and lease.demand.lifetime is None and names & lease.held.keys():
                self.leases.call_back(lease, now)
                out.append(CallBack(lease))
        return out

    def let_go(self, group: Group | None, now: float) -> Out:
        """Keep no more room for this group, if it was kept for it."""
        if group is None or group is not self._helped:
            return []
        self._helped = None
        out: Out = []
        for node in self._keeping():
            node.reserved = None
            out += self.leases.change_total(node.name, {}, now)
        self._keepers.clear()
        return out

    def validate(self, groups: Iterable[Group]) -> None:
        """Assert that what nodes hold for groups, and have of their names, is what they have."""
        own: dict[str, dict[str, int]] = {name: {} for name in self.leases.nodes}
        held = 0
        for group in groups:
            for index, seat in group.seats.items():
                lease = self.leases.leases[seat.lease]
                assert lease.node.name == seat.node and lease.held == group.bundles[index]
                _add(own[seat.node], _own(group, index), 1)
                held += 1
        for name, node in self.leases.nodes.items():
            there = {x: units for x, units in node.ledger.total.items() if "_group_" in x}
            assert there == own[name], (there, own[name])
        assert held == sum(x.demand.owner.startswith("group:") for x in self.leases.leases.values())
        assert self._helped is not None or not self._keepers


def _keeper(group: Group, takes: dict[str, int]) -> Demand:
    """A stand-in that is never served, since what it needs is nowhere: a node keeps room for it."""
    owner = f"group:{group.hex}"
    return Demand((owner, -1), owner, SchedulingClass({"": UNITS}), "", lifetime=takes)


def _own(group: Group, index: int) -> dict[str, int]:
    """A bundle's resources under the names of its group."""
    out: dict[str, int] = {}
    for name, units in [*group.bundles[index].items(), ("bundle", BUNDLE_UNITS)]:
        for own in group_names(name, group.hex, index):
            out[own] = units
    return out


def _add(to: dict[str, int], units: Units, times: int) -> None:
    for name, amount in units.items():
        to[name] = to.get(name, 0) + amount * times


def _without_tasks(node: Node) -> dict[str, int]:
    """What a node could give if no tasks held leases there."""
    total = dict(node.ledger.total)
    for lease in node.leases.values():
        if lease.demand.lifetime is not None:
            _add(total, lease.held, -1)
    return total
