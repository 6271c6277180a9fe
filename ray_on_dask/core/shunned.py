"""Nodes that others cannot reach: for a while no tasks go there whose owners are at those."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from ray_on_dask.wire.messages import Unreachable

if TYPE_CHECKING:
    from ray_on_dask.core.leases import Leases

#: Seconds until it is tried again.
SHUNNED = 60.0


class Shunned:
    """Who cannot reach whom, and until when that is believed."""

    def __init__(self, leases: Leases):
        self._leases = leases
        self._until: deque[tuple[float, str, str]] = deque()

    def said(self, sender: str, message: Unreachable, now: float) -> list[object]:
        """A node cannot connect to another, which lives as far as it knows."""
        node = self._leases.nodes.get(message.node)
        if node is not None:
            node.shunned.add(sender)
            self._until.append((now + SHUNNED, message.node, sender))
        return []

    def tick(self, now: float) -> None:
        """The way may be open again."""
        while self._until and self._until[0][0] <= now:
            _, name, home = self._until.popleft()
            node = self._leases.nodes.get(name)
            if node is not None:
                node.shunned.discard(home)
                self._leases.drain_node(name, node.draining)  # who waits is looked at anew
