"""What the ledger of leases knows of: nodes, demands, leases, and the decisions about them."""

from __future__ import annotations

from dataclasses import dataclass, field

from ray_on_dask.core.resources import CPU, Ledger, group_of
from ray_on_dask.wire.messages import SchedulingClass

#: The owner of a demand and its number there.
Key = tuple[str, int]
#: How much a demand needs a lease, smallest first: not urgent, leases it has, since when, a number.
Rank = tuple[bool, int, float, int]


@dataclass(slots=True, eq=False)
class Node:
    """A node as the ledger sees it."""

    name: str
    ledger: Ledger
    labels: dict[str, str] = field(default_factory=dict)
    leases: dict[int, Lease] = field(default_factory=dict)
    #: It is about to leave: nothing new goes there.
    draining: bool = False
    #: Nodes from which it cannot be reached: their owners' tasks do not go here.
    shunned: set[str] = field(default_factory=set)
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
    #: When it began to want more than it has, was last granted something, or had to give.
    since: float = 0.0
    #: Held for life once granted, in place of `spec.resources` (actors).
    lifetime: dict[str, int] | None = None
    #: Leases of it that have been called back and are not over.
    ending: int = 0
    #: The node on which room is kept for it.
    reserves: Node | None = None
    #: Its place among those that lack leases; None if it lacks none.
    rank: Rank | None = None
    #: State of the nodes in which it was last looked whether any could ever serve it; if not so.
    checked_at: int = -1
    infeasible: bool = False
    warned: bool = False
    #: Functions whose tasks these are.
    names: list[str] = field(default_factory=list)

    @property
    def what(self) -> str:
        """What is to run, for people; "" if nobody has said."""
        return self.spec.name or ", ".join(self.names)

    @property
    def within(self) -> str:
        """The placement group whose resources it wants, 36 hex digits, "" for none."""
        return group_of(self.spec.resources)

    @property
    def lacks(self) -> int:
        """Leases wanted and not granted."""
        return self.wanted - len(self.leases)

    @property
    def takes(self) -> dict[str, int]:
        """What one lease of it takes away from a node."""
        return self.spec.resources if self.lifetime is None else self.lifetime

    @property
    def needs(self) -> dict[str, int]:
        """What a node must have in all to serve it."""
        needs = self.spec.resources
        if self.lifetime is None:
            return needs
        return {
            name: max(needs.get(name, 0), self.lifetime.get(name, 0))
            for name in {**needs, **self.lifetime}
        }


@dataclass(slots=True, eq=False)
class Lease:
    """A granted lease."""

    id: int
    demand: Demand
    node: Node
    held: dict[str, int]
    granted_at: float
    #: CPUs that its blocked task has lent, those of a placement group under its names.
    lent: dict[str, int] = field(default_factory=dict)
    #: When they were lent last.
    lent_at: float = 0.0
    #: It has been called back, when.
    ending: bool = False
    ending_at: float = 0.0
    executor: str = ""

    def lend(self, now: float) -> None:
        """Its CPUs are free while its task is blocked."""
        self.lent_at = now
        self.lent = {name: units for name, units in self.held.items()
                     if name == CPU or name.startswith(f"{CPU}_group_")}  # fmt: skip
        self.node.ledger.give(self.lent)

    def take_back(self) -> None:
        """They are not any more, whether or not others use them."""
        self.node.ledger.take(self.lent)
        self.lent = {}

    def give_back(self) -> None:
        """It is over: all that it still holds is free."""
        self.node.ledger.give(self.held)
        self.node.ledger.take(self.lent)


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
