"""Exact quantities of resources: fixed-point, in units of 1/10,000.

A quantity is an `int` of such units, a set of resources a `dict` of them; a name
that is absent has none. So 0.1 + 0.2 of a GPU is 0.3 of a GPU, and a ledger that
has been granted from and given back to a million times is where it began.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

#: Units in one of anything.
UNITS = 10_000
CPU, GPU = "CPU", "GPU"


def to_units(quantity: float) -> int:
    """Units in a quantity, rounded down as Ray does: 1.00015 is 1.0001."""
    return int(quantity * UNITS + 1e-6)


def from_units(units: int) -> float:
    """The quantity that `units` are."""
    return units / UNITS


def as_floats(resources: Mapping[str, int]) -> dict[str, float]:
    """The same set in whole quantities, without those that are zero or less."""
    return {name: units / UNITS for name, units in resources.items() if units > 0}


# -- names within placement groups -----------------------------------------------------

#: A resource within a placement group: plain name, its bundle or nothing, the group's id.
_IN_GROUP = re.compile(r"(.+)_group_(?:\d+_)?([0-9a-f]{36})")


def group_names(name: str, group: str, index: int) -> tuple[str, str]:
    """The names of a resource within a placement group (36 hex digits): of a bundle, and of any."""
    return f"{name}_group_{index}_{group}", f"{name}_group_{group}"


def group_of(resources: Iterable[str]) -> str:
    """The placement group whose resources these are, 36 hex digits, "" if they are nobody's."""
    for name in resources:
        match = _IN_GROUP.fullmatch(name) if "_group_" in name else None
        if match is not None:
            return match[2]
    return ""


def plain_names(resources: Mapping[str, int]) -> Mapping[str, int]:
    """The same quantities under the names that they have outside of placement groups."""
    if not any("_group_" in name for name in resources):
        return resources
    plain: dict[str, int] = {}
    for name, units in resources.items():
        match = _IN_GROUP.fullmatch(name)
        name = match[1] if match is not None else name
        if name != "bundle":
            plain[name] = max(units, plain.get(name, 0))
    return plain


@dataclass(slots=True)
class Ledger:
    """What one node has, and what of it is free.

    `free` of the CPU may be below zero: a task that lent its CPU while it was blocked goes on at
    once when it wakes, and nothing is granted until that debt is repaid. Nothing else may.
    """

    total: dict[str, int]
    free: dict[str, int] = field(default_factory=dict)
    #: CPU units used by tasks of Dask's own.
    external: int = 0

    def __post_init__(self) -> None:
        self.free = dict(self.total)

    def fits(self, demand: Mapping[str, int]) -> bool:
        """Whether the demand can be taken now."""
        free = self.free
        for name, units in demand.items():
            have = free.get(name, 0)
            if name == CPU:
                have -= self.external
            if units > have and units > 0:
                return False
        return True

    def could_fit(self, demand: Mapping[str, int]) -> bool:
        """Whether the demand could be taken if nothing else were."""
        total = self.total
        return all(units <= total.get(name, 0) for name, units in demand.items())

    def take(self, demand: Mapping[str, int]) -> None:
        """Subtract; the caller has asked `fits` (or lends)."""
        free = self.free
        for name, units in demand.items():
            free[name] = free.get(name, 0) - units

    def give(self, demand: Mapping[str, int]) -> None:
        """Add back what was taken."""
        free = self.free
        for name, units in demand.items():
            free[name] = free.get(name, 0) + units

    def change_total(self, changes: Mapping[str, int]) -> None:
        """Add to the totals (placement groups make resources of their own; negative takes away)."""
        for name, units in changes.items():
            self.total[name] = self.total.get(name, 0) + units
            self.free[name] = self.free.get(name, 0) + units
            if not self.total[name]:
                del self.total[name]
                if not self.free[name]:
                    del self.free[name]

    def validate(self) -> None:
        """Assert that no more is granted than there is."""
        for name, units in self.free.items():
            assert units <= self.total.get(name, 0), (name, units, self.total)
            if not name.startswith(CPU):
                assert units >= 0, (name, units)
