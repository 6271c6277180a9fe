"""What the control store knows of one placement group."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ray_on_dask.core.labels import Selector
from ray_on_dask.core.lease_records import Key
from ray_on_dask.core.resources import from_units
from ray_on_dask.wire.messages import CreateGroup

PENDING, CREATED, REMOVED, RESCHEDULING = "PENDING", "CREATED", "REMOVED", "RESCHEDULING"
#: What decides whether a group fits: strategy, target, what is missing, where the others are.
Shape = tuple[Any, ...]


def label_name(selector: Selector) -> str:
    """What stands for a selector among resources: nodes that meet it have any amount of that."""
    return f"label:{json.dumps(selector, sort_keys=True)}"


@dataclass(frozen=True, slots=True)
class EndUser:
    """End what this demand has and wants: its placement group is gone."""

    key: Key
    #: 36 hex digits.
    group: str
    #: For tasks, pickled.
    error: bytes


@dataclass(frozen=True, slots=True)
class Seat:
    """Where a bundle is, and the lease that holds its resources."""

    node: str
    lease: int


@dataclass(slots=True, eq=False)
class Group:
    """A placement group, living or removed."""

    id: bytes
    bundles: list[dict[str, int]]
    strategy: str
    creator: str
    job: int
    created: float
    name: str = ""
    namespace: str = ""
    detached: bool = False
    #: The node to be tried first.
    target: str = ""
    #: What labels each bundle's node must have; [] for any.
    selectors: Sequence[Selector] = ()
    state: str = PENDING
    #: {bundle: its seat}; all of them if the state is CREATED.
    seats: dict[int, Seat] = field(default_factory=dict)
    #: Where the bundles were when it was removed.
    was_at: dict[int, str] = field(default_factory=dict)
    #: Since when it waits for room; when it last got it, when it was removed.
    since: float = 0.0
    placed: float = 0.0
    ended: float = 0.0
    watchers: set[str] = field(default_factory=set)
    #: People have been told that it fits nowhere.
    warned: bool = False
    #: State of the nodes in which it was last looked whether it could fit on them at all.
    checked_at: int = -1
    #: Why it was never made, "" if it was.
    refused: str = ""

    @classmethod
    def of(cls, message: CreateGroup, creator: str, job: int, now: float) -> Group:
        """The group that a message asks for."""
        return cls(
            message.id, message.bundles, message.strategy, creator, job, now, message.name,
            message.namespace, message.detached, message.target, message.selectors, since=now,
        )  # fmt: skip

    @property
    def hex(self) -> str:
        """Its id as resources have it in their names."""
        return self.id.hex()

    @property
    def key(self) -> tuple[str, str]:
        """Its name among all."""
        return self.namespace, self.name

    def title(self) -> str:
        """What people call it."""
        return f"{self.name!r} ({self.hex})" if self.name else self.hex

    def missing(self) -> dict[int, dict[str, int]]:
        """The bundles that have no seat."""
        return {i: units for i, units in enumerate(self.bundles) if i not in self.seats}

    def needs(self) -> dict[int, dict[str, int]]:
        """The same as they are planned: a label that its node must have is one of a resource."""
        missing = self.missing()
        if not self.selectors:
            return missing
        return {
            index: {**units, label_name(self.selectors[index]): 1}
            if self.selectors[index] else units
            for index, units in missing.items()
        }  # fmt: skip

    def shape(self) -> Shape:
        """Groups of equal shape can be placed alike, or none of them can."""
        return (
            self.strategy, self.target,
            tuple(tuple(sorted(units.items())) for units in self.needs().values()),
            tuple(sorted(seat.node for seat in self.seats.values())),
        )  # fmt: skip

    def bundle_specs(self) -> list[dict[str, float]]:
        """What each bundle has, in whole quantities."""
        return [
            {name: from_units(units) for name, units in bundle.items()} for bundle in self.bundles
        ]

    def facts(self) -> dict[str, Any]:
        """For listings. Times are those of the caller's clock, 0.0 for none."""
        return {
            "id": self.id, "name": self.name, "namespace": self.namespace, "job": self.job,
            "bundles": self.bundle_specs(), "strategy": self.strategy, "state": self.state,
            "nodes": self.was_at or {index: seat.node for index, seat in self.seats.items()},
            "detached": self.detached, "created": self.created, "placed": self.placed,
            "ended": self.ended, "infeasible": self.warned, "refused": self.refused,
            "creator": self.creator,
        }  # fmt: skip
