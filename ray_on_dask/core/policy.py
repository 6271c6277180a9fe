"""Where a lease goes: the choice among the nodes that could take it.

"DEFAULT" takes the node where most bytes of the dependencies lie if it has room; then it packs,
first the owner's own node, up to a threshold of use, so that few nodes are busy and others can be
given back; what is more than that goes to the least used node. "SPREAD" takes the next node each
time, as do leases that take nothing from a node, whose use they would never show. Strategies with
fields (a JSON object) name the nodes that may be used, in *tiers*: who finds no room in one tier
is placed in the next. See `ray_on_dask.util.scheduling_strategies`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ray_on_dask.core.labels import in_words, labels_match
from ray_on_dask.core.resources import UNITS
from ray_on_dask.core.rings import Ring, fits, share_used, takes

if TYPE_CHECKING:
    from ray_on_dask.core.lease_records import Demand, Node

#: Strategies with fields that are remembered.
REMEMBERED = 4096
_NOWHERE = Ring(())


class Policy:
    """Picks nodes; remembers where it was, so that a pick seldom looks at more than a few.

    Parameters
    ----------
    threshold : float
        The share of a node that is filled before another one is begun with.
    """

    def __init__(self, threshold: float = 0.5) -> None:
        self.threshold = threshold
        #: Counts the times that a node has gained room.
        self.rooms = 0
        self._all = _NOWHERE
        self._parsed: dict[str, dict[str, Any]] = {}
        self._labelled: dict[str, list[Ring]] = {}

    def changed(self, nodes: Mapping[str, Node]) -> None:
        """Nodes have come, gone or begun to drain."""
        self._all = Ring(name for name, node in nodes.items() if not node.draining)
        self._labelled.clear()

    # -- picking -----------------------------------------------------------------------

    def pick(self, demand: Demand, nodes: Mapping[str, Node]) -> Node | None:
        """A node with room for one lease of the demand, or None."""
        strategy = demand.spec.strategy
        if strategy == "DEFAULT":
            return self._near(demand, nodes) or self._of(self._all, demand, nodes)
        if strategy[0] != "{":
            return self._all.next(demand, nodes)
        spread = self.parse(strategy).get("spread")
        for ring in self._tiers(demand, nodes):
            node = ring.next(demand, nodes) if spread else self._of(ring, demand, nodes)
            if node is not None:
                return node
        return None

    def _of(self, ring: Ring, demand: Demand, nodes: Mapping[str, Node]) -> Node | None:
        if not demand.takes:
            return ring.next(demand, nodes)
        return ring.packed(demand, nodes, self.threshold, self.rooms)

    def _near(self, demand: Demand, nodes: Mapping[str, Node]) -> Node | None:
        by_bytes = demand.locality
        for name in sorted(by_bytes, key=by_bytes.__getitem__, reverse=True):
            node = nodes.get(name)
            if node is not None and takes(node, demand) and fits(node, demand):
                return node
        node = nodes.get(demand.home)
        if node is None or not demand.takes or share_used(node, demand) >= self.threshold:
            return None
        return node if takes(node, demand) and fits(node, demand) else None

    def may(self, demand: Demand, node: Node, nodes: Mapping[str, Node]) -> bool:
        """Whether one lease of the demand may go to this node now."""
        return fits(node, demand) and takes(node, demand) and self.allows(demand, node, nodes)

    # -- which nodes -------------------------------------------------------------------

    def allows(self, demand: Demand, node: Node, nodes: Mapping[str, Node]) -> bool:
        """Whether the demand's strategy has it go to this node."""
        if demand.spec.strategy[0] != "{":
            return True
        return any(node.name in ring.members for ring in self._tiers(demand, nodes))

    def _tiers(self, demand: Demand, nodes: Mapping[str, Node]) -> list[Ring]:
        text = demand.spec.strategy
        strategy = self.parse(text)
        if "node_id" not in strategy:
            rings = self._labelled.get(text)
            if rings is None:
                rings = self._labelled[text] = [_matching(x, nodes) for x in _selectors(strategy)]
            return rings
        named = nodes.get(strategy["node_id"])
        here = [] if named is None or named.draining else [Ring([named.name])]
        if not strategy.get("soft"):
            return here
        if not here or named is None or not named.ledger.could_fit(demand.needs):
            return [self._all]
        return [*here, self._all] if strategy.get("spill") else here

    def parse(self, strategy: str) -> dict[str, Any]:
        """The fields of a strategy that has some."""
        parsed = self._parsed.get(strategy)
        if parsed is None:
            if len(self._parsed) >= REMEMBERED:
                self._parsed.clear()
                self._labelled.clear()
            parsed = self._parsed[strategy] = json.loads(strategy)
        return parsed

    def pinned(self, demand: Demand) -> bool:
        """Whether one node alone will do: no other has its name, now or ever."""
        if demand.spec.strategy[0] != "{":
            return False
        strategy = self.parse(demand.spec.strategy)
        return "node_id" in strategy and not strategy.get("soft")

    def impatient(self, demand: Demand) -> bool:
        """Whether it is to fail rather than to wait for room."""
        text = demand.spec.strategy
        return text[0] == "{" and bool(self.parse(text).get("fail"))

    def could(self, demand: Demand, node: Node, nodes: Mapping[str, Node]) -> bool:
        """Whether the node could serve the demand if nothing else were there."""
        return node.ledger.could_fit(demand.needs) and self.allows(demand, node, nodes)

    # -- what can never be -------------------------------------------------------------

    def able(self, demand: Demand, nodes: Mapping[str, Node]) -> list[Node]:
        """The nodes that could serve the demand if nothing else were there."""
        needs = demand.needs
        return [node for node in self._allowed(demand, nodes) if node.ledger.could_fit(needs)]

    def _allowed(self, demand: Demand, nodes: Mapping[str, Node]) -> list[Node]:
        if demand.spec.strategy[0] != "{":
            return list(nodes.values())
        rings = self._tiers(demand, nodes)
        return [nodes[name] for name in dict.fromkeys(name for x in rings for name in x.names)]

    def why_not(self, demand: Demand, nodes: Mapping[str, Node]) -> str:
        """What the demand asks for that no node has in all; "" if one could serve it some day."""
        if self.able(demand, nodes):
            return ""
        allowed = self._allowed(demand, nodes)
        if not allowed and demand.spec.strategy[0] == "{":
            return _no_node(self.parse(demand.spec.strategy), nodes)
        lacking, needs = [], demand.needs
        for name, units in needs.items():
            most = max((node.ledger.total.get(name, 0) for node in allowed), default=0)
            if units > most:
                lacking.append(f"{name}: {units / UNITS:g} wanted, {most / UNITS:g} on one node")
        if lacking:
            return "; ".join(lacking)
        wanted = ", ".join(f"{name}: {units / UNITS:g}" for name, units in needs.items())
        return f"no one node has all of it: {wanted}"


def _selectors(strategy: Mapping[str, Any]) -> list[list[dict[str, Any]]]:
    """What nodes must have, tier by tier."""
    hard = strategy.get("hard", {})
    if strategy.get("soft"):
        return [[hard, strategy["soft"]], [hard]]
    return [[hard], *([one] for one in strategy.get("fallback", ()))]


def _matching(selectors: list[dict[str, Any]], nodes: Mapping[str, Node]) -> Ring:
    return Ring(
        name for name, node in nodes.items()
        if not node.draining and all(labels_match(node.labels, one) for one in selectors)
    )  # fmt: skip


def _no_node(strategy: Mapping[str, Any], nodes: Mapping[str, Node]) -> str:
    if "node_id" in strategy:
        gone = strategy["node_id"] not in nodes
        return f"its node {strategy['node_id']} is " + ("gone" if gone else "about to leave")
    wanted = [in_words(one) for one in [strategy.get("hard", {}), *strategy.get("fallback", ())]]
    return f"no node has the labels that it asks for ({'; or '.join(wanted)})"
