"""Who is still there: the control store's view of its nodes, and a node's of the control store.

A node pings; the control store answers each ping with the time that it allows, `limit`. A node
that has not been heard of for that long is declared dead, once and for all. It sees the same from
its side, and sooner: from when it *sent* the last ping that was answered it waits for only `SOONER`
of the limit, then ends its executors. So these are gone before their work is given to others,
however long the answers were on their way, and nothing runs twice side by side.

Who was stopped himself for a while (a debugger, a suspended machine) has heard nobody, and knows
nothing of the others: he gives them their time anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field

#: Seconds after which a node counts as dead, unless the configuration says otherwise.
LIMIT = 30.0
#: Share of the limit after which a node gives up on the control store.
SOONER = 0.8
#: Pings that a node sends within the limit.
PINGS = 10


@dataclass(slots=True)
class Liveness:
    """When each node was last heard of. Nodes in the control store's own process are not here."""

    limit: float = LIMIT
    last: dict[str, float] = field(default_factory=dict)
    _ticked: float | None = None

    def heard(self, node: str, now: float) -> None:
        """A node has joined, or has sent a ping."""
        self.last[node] = now

    def gone(self, node: str) -> None:
        """A node is no more."""
        self.last.pop(node, None)

    def tick(self, now: float) -> list[str]:
        """The nodes that are dead; to be called several times within the limit."""
        slept = 0.0 if self._ticked is None else now - self._ticked
        self._ticked = now
        if slept > self.limit / 3:
            self.last = dict.fromkeys(self.last, now)
        dead = [node for node, last in self.last.items() if now - last > self.limit]
        for node in dead:
            del self.last[node]
        return dead


@dataclass(slots=True)
class Contact:
    """A node's contact with the control store."""

    #: Seconds that the control store allows; 0 while it has not answered yet.
    limit: float = 0.0
    #: When the last ping was sent that has been answered.
    last: float = 0.0
    _sent: dict[int, float] = field(default_factory=dict)
    _number: int = 0
    _pinged: float | None = None
    _lost: bool = False

    def ping(self, now: float) -> int:
        """The number of a ping that is due; 0 if none is."""
        if self._pinged is not None and now - self._pinged < self.limit / PINGS:
            return 0
        self._pinged = now
        self._number += 1
        self._sent[self._number] = now
        while len(self._sent) > 4 * PINGS:
            del self._sent[next(iter(self._sent))]
        return self._number

    def answered(self, number: int, limit: float) -> None:
        """The control store's answer to a ping."""
        sent = self._sent.pop(number, None)
        if sent is not None:
            self.last = max(self.last, sent)
            self.limit = limit
            self._lost = False
            self._sent = {n: at for n, at in self._sent.items() if n > number}

    def lost(self, now: float) -> bool:
        """Whether the contact is lost; True once each time that it is."""
        if not self.limit or self._lost or now - self.last <= SOONER * self.limit:
            return False
        self._lost = True
        return True
