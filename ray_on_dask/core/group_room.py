"""What placement groups take from nodes, give back to them, and wait for on them.

A group that has waited for `SHARE_AFTER` seconds is given room: leases of tasks are called back on
the nodes where it would fit without them, and what comes free there is kept for it. One group at
a time is helped so, the oldest that can be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ray_on_dask.core.bundles import Plan, Units
from ray_on_dask.core.group_record import Group, Seat
from ray_on_dask.core.lease_records import CallBack, Demand, Node
from ray_on_dask.core.leases import SHARE_AFTER, Leases
from ray_on_dask.core.resources import CPU, UNITS, group_names
from ray_on_dask.wire.messages import SchedulingClass

Out = list[Any]
Room = dict[str, dict[str, int]]

#: Units of its own resource that a group has for each bundle: what needs nothing else takes some.
BUNDLE_UNITS = 1000 * UNITS


class GroupRoom:
    """The ledger of leases, as placement groups use it."""

    def __init__(self, leases: Leases) -> None:
        self.leases = leases
        #: The group for which room is being kept, and its stand-in on each node that keeps some.
        self._helped: Group | None = None
        self._keepers: dict[str, Demand] = {}

    # -- what there is -----------------------------------------------------------------

    def free(self, group: Group) -> Room:
        """What each node could give now, in the order of preference of the group's strategy."""
        return self._measure(group, lambda node, name: node.ledger.free.get(name, 0))

    def total(self, group: Group) -> Room:
        """What each node could give if nothing were taken."""
        return self._measure(group, lambda node, name: node.ledger.total.get(name, 0))

    def _measure(self, group: Group, measure: Callable[[Node, str], int]) -> Room:
        names = {name for bundle in group.bundles for name in bundle}
        room = {
            node.name: {
                name: measure(node, name) - self._spoken_for(node, name, group) for name in names
            }
            for node in self.leases.nodes.values()
            if not node.draining
        }
        spread = group.strategy.endswith("SPREAD")
        order = sorted(room, key=lambda name: sum(room[name].values()), reverse=spread)
        return {name: room[name] for name in order}

    def _spoken_for(self, node: Node, name: str, group: Group) -> int:
        """What a node keeps for others, or Dask's own tasks use."""
        kept = node.reserved
        units = node.ledger.external if name == CPU else 0
        if kept is None or (group is self._helped and kept is self._keepers.get(node.name)):
            return units
        return units + kept.takes.get(name, 0)

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


def _without_tasks(node: Node, name: str) -> int:
    """What a node could give if no tasks held leases there."""
    held: Mapping[str, int]
    total = node.ledger.total.get(name, 0)
    for lease in node.leases.values():
        if lease.demand.lifetime is not None:
            held = lease.held
            total -= held.get(name, 0)
    return total
