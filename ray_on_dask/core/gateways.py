"""Gateways: the hubs of drivers that have no node on their host.

A gateway is a member's home like a node, but nothing is ever placed there, nobody connects to it,
and it ends with its driver. It is not among the nodes that people and policies see.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ray_on_dask.core.copies import of_owner
from ray_on_dask.core.instructions import Send
from ray_on_dask.core.members import NodeFacts
from ray_on_dask.wire import messages as m

if TYPE_CHECKING:
    from ray_on_dask.core.control import ControlStore


class Gateways:
    """The gateways of a cluster, by name."""

    def __init__(self, control: ControlStore):
        self.control = control
        self.facts: dict[str, NodeFacts] = {}
        self._turn = 0

    def up(self, facts: NodeFacts, now: float) -> None:
        """A gateway has joined."""
        facts.started = now
        self.facts[facts.name] = facts

    def down(self, name: str, reason: str, now: float) -> list[Any]:
        """A gateway is gone, and its driver with it; what it has handed over stays."""
        if self.facts.pop(name, None) is None:
            return []
        control = self.control
        out: list[Any] = []
        for member in [x for x in control.members.values() if x.node == name]:
            out += control.lost(m.Lost(member.name, reason), now)
        moved = control.copies.node_lost(name)
        out += control.directory.node_lost(name, moved)
        out += [
            Send(process, m.NodeLost(name, reason, of_owner(moved, process)))
            for process in control.members
        ]
        return control._settle(out, now)

    def home(self) -> str:
        """A node for the next object that a gateway hands over; "" if there is none."""
        names = [
            name for name, node in self.control.leases.nodes.items() if not node.draining
        ]  # fmt: skip
        self._turn += 1
        return names[self._turn % len(names)] if names else ""
