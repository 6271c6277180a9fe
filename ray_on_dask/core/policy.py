"""Where a lease goes: the choice among the nodes that could take it.

"DEFAULT" packs: the node where most bytes of the dependencies lie if it has room, then the
owner's own, then the node that was filled last, so that few nodes are busy and others can be
given back. "SPREAD" takes the next node each time. Strategies with fields (a JSON object) name
the nodes that may be used; see `ray_on_dask.util.scheduling_strategies`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ray_on_dask.core.resources import UNITS

if TYPE_CHECKING:
    from ray_on_dask.core.lease_records import Demand, Node


class Policy:
    """Picks nodes; remembers where it was, so that a pick seldom looks at more than a few."""

    def __init__(self) -> None:
        self._order: list[str] = []
        self._at = 0
        self._parsed: dict[str, dict[str, Any]] = {}

    def changed(self, nodes: Mapping[str, Node]) -> None:
        """Nodes have come, gone or begun to drain."""
        self._order = [name for name, node in nodes.items() if not node.draining]
        self._at = 0

    def pick(self, demand: Demand, nodes: Mapping[str, Node]) -> Node | None:
        """A node with room for one lease of the demand, or None."""
        strategy = demand.spec.strategy
        if strategy[0] == "{":
            return self._first(self._allowed(demand, nodes), demand)
        if strategy == "SPREAD":
            self._at += 1
            return self._rotate(demand, nodes)
        near = self._first(self._near(demand, nodes), demand)
        return near or self._rotate(demand, nodes)

    @staticmethod
    def _near(demand: Demand, nodes: Mapping[str, Node]) -> list[Node]:
        names = sorted(demand.locality, key=demand.locality.__getitem__, reverse=True)
        return [nodes[name] for name in [*names, demand.home] if name in nodes]

    @staticmethod
    def _first(candidates: Iterable[Node], demand: Demand) -> Node | None:
        for node in candidates:
            if _may(node, demand) and _fits(node, demand):
                return node
        return None

    def _rotate(self, demand: Demand, nodes: Mapping[str, Node]) -> Node | None:
        count = len(self._order)
        for step in range(count):
            at = (self._at + step) % count
            node = nodes[self._order[at]]
            if _fits(node, demand) and _may(node, demand):
                self._at = at
                return node
        return None

    def may(self, demand: Demand, node: Node, nodes: Mapping[str, Node]) -> bool:
        """Whether one lease of the demand may go to this node now."""
        if not _fits(node, demand) or not _may(node, demand):
            return False
        return demand.spec.strategy[0] != "{" or node in self._allowed(demand, nodes)

    def _allowed(self, demand: Demand, nodes: Mapping[str, Node]) -> list[Node]:
        strategy = self.parse(demand.spec.strategy)
        if "node_id" in strategy:
            named = nodes.get(strategy["node_id"])
            if named is not None and (not strategy.get("soft") or _fits(named, demand)):
                return [named]
            return list(nodes.values()) if strategy.get("soft") else []
        hard = [n for n in nodes.values() if _labels_match(n.labels, strategy.get("hard", {}))]
        soft = [n for n in hard if _labels_match(n.labels, strategy.get("soft", {}))]
        return soft + [n for n in hard if n not in soft]

    def parse(self, strategy: str) -> dict[str, Any]:
        """The fields of a strategy that has some."""
        parsed = self._parsed.get(strategy)
        if parsed is None:
            parsed = self._parsed[strategy] = json.loads(strategy)
        return parsed

    def pinned(self, demand: Demand) -> bool:
        """Whether one node alone will do: no other has its name, now or ever."""
        if demand.spec.strategy[0] != "{":
            return False
        strategy = self.parse(demand.spec.strategy)
        return "node_id" in strategy and not strategy.get("soft")

    def able(self, demand: Demand, nodes: Mapping[str, Node]) -> list[Node]:
        """The nodes that could serve the demand if nothing else were there."""
        allowed: Iterable[Node] = nodes.values()
        if demand.spec.strategy[0] == "{":
            allowed = self._allowed(demand, nodes)
        needs = demand.needs
        return [node for node in allowed if node.ledger.could_fit(needs)]

    def why_not(self, demand: Demand, nodes: Mapping[str, Node]) -> str:
        """What the demand asks for that no node has in all; "" if one could serve it some day."""
        if self.able(demand, nodes):
            return ""
        resources, lacking = demand.needs, []
        for name, units in resources.items():
            most = max((node.ledger.total.get(name, 0) for node in nodes.values()), default=0)
            if units > most:
                lacking.append(f"{name}: {units / UNITS:g} wanted, {most / UNITS:g} on one node")
        return "; ".join(lacking) or "no node meets its scheduling strategy"


def _fits(node: Node, demand: Demand) -> bool:
    """Whether a node has room: an actor needs what it holds free, and what places it in all."""
    ledger = node.ledger
    if demand.lifetime is None:
        return ledger.fits(demand.spec.resources)
    return ledger.fits(demand.lifetime) and ledger.could_fit(demand.spec.resources)


def _may(node: Node, demand: Demand) -> bool:
    """Whether a node takes new leases of this demand, room or not."""
    if node.draining:
        return False
    kept = node.reserved
    if kept is None or kept is demand or demand.urgent:
        return True
    takes, needs, free = demand.takes, kept.takes, node.ledger.free
    return all(free.get(name, 0) - units >= needs.get(name, 0) for name, units in takes.items()
               if units and name in needs)  # fmt: skip


def _labels_match(labels: Mapping[str, str], wanted: Mapping[str, Any]) -> bool:
    """Whether labels meet {key: ["in" | "not_in" | "exists" | "absent", values]}."""
    for key, (operator, values) in wanted.items():
        has = labels.get(key)
        met = {
            "in": has in values,
            "not_in": has not in values,
            "exists": has is not None,
            "absent": has is None,
        }[operator]
        if not met:
            return False
    return True
