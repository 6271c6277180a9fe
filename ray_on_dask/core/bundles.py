"""Which nodes the bundles of a placement group go to: all of them, or none.

Nothing is taken here: the answer is a plan. `room` is what each node could give, the order of the
nodes is the order of preference where there is no other reason, and bundles that are alike are
counted, not tried one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

#: Resources in units.
Units = Mapping[str, int]
#: {bundle: node}.
Plan = dict[int, str]

STRATEGIES = ("PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD")


@dataclass
class Wanted:
    """What is to be placed.

    Parameters
    ----------
    bundles : dict
        {index: units}.
    strategy : str
        One of `STRATEGIES`.
    used : dict
        {node: bundles of the group that are there already}.
    target : str
        The node that is to be tried first, "" for none (STRICT_PACK).
    """

    bundles: Mapping[int, Units]
    strategy: str = "PACK"
    used: dict[str, int] = field(default_factory=dict)
    target: str = ""


def plan(wanted: Wanted, room: Mapping[str, Units]) -> Plan | None:
    """Where each bundle is to go, None if they cannot all be placed."""
    return _BY_STRATEGY[wanted.strategy](wanted, {name: dict(free) for name, free in room.items()})


Room = dict[str, dict[str, int]]


def _fits(need: Units, free: Units) -> bool:
    return all(units <= free.get(name, 0) for name, units in need.items() if units > 0)


def _take(need: Units, free: dict[str, int], times: int = 1) -> None:
    for name, units in need.items():
        free[name] = free.get(name, 0) - units * times


def _how_many(need: Units, free: Units) -> int:
    """How often the need fits."""
    counts = [free.get(name, 0) // units for name, units in need.items() if units > 0]
    return max(0, min(counts, default=1 << 30))


def _size(need: Units) -> tuple[int, int]:
    """Order of bundles: rare resources first, then much of any."""
    return len(need), sum(need.values())


def _largest_first(bundles: Mapping[int, Units]) -> list[int]:
    return sorted(bundles, key=lambda index: _size(bundles[index]), reverse=True)


def _strict_pack(wanted: Wanted, room: Room) -> Plan | None:
    total: dict[str, int] = {}
    for need in wanted.bundles.values():
        for name, units in need.items():
            total[name] = total.get(name, 0) + units
    names: Iterable[str] = wanted.used or [wanted.target, *room]
    for name in names:
        if name in room and _fits(total, room[name]):
            return dict.fromkeys(wanted.bundles, name)
    return None


# -- PACK ------------------------------------------------------------------------------


def _pack(wanted: Wanted, room: Room) -> Plan | None:
    """The node that takes most of what is left, again and again; else bundle by bundle."""
    copy = {name: dict(free) for name, free in room.items()}
    return _pack_greedily(wanted, room) or _pack_singly(wanted, copy)


def _pack_greedily(wanted: Wanted, room: Room) -> Plan | None:
    left = _alike(wanted.bundles)
    out: Plan = {}
    for name in wanted.used:
        if name in room:
            _fill(name, room[name], left, out)
    nodes = dict(room)
    while any(indices for _, indices in left):
        counts = {name: _capacity(free, left) for name, free in nodes.items()}
        best = max(counts, key=counts.__getitem__, default="")
        if not best or not counts[best]:
            return None
        _fill(best, nodes.pop(best), left, out)
    return out


def _alike(bundles: Mapping[int, Units]) -> list[tuple[Units, list[int]]]:
    """Bundles by what they need, the largest needs first."""
    kinds: dict[tuple[tuple[str, int], ...], list[int]] = {}
    for index in _largest_first(bundles):
        kinds.setdefault(tuple(sorted(bundles[index].items())), []).append(index)
    return [(dict(kind), indices[::-1]) for kind, indices in kinds.items()]


def _capacity(free: Units, left: list[tuple[Units, list[int]]]) -> int:
    """How many of the bundles that are left a node takes."""
    copy, count = dict(free), 0
    for need, indices in left:
        times = min(len(indices), _how_many(need, copy))
        _take(need, copy, times)
        count += times
    return count


def _fill(name: str, free: dict[str, int], left: list[tuple[Units, list[int]]], out: Plan) -> None:
    for need, indices in left:
        times = min(len(indices), _how_many(need, free))
        _take(need, free, times)
        for _ in range(times):
            out[indices.pop()] = name


def _pack_singly(wanted: Wanted, room: Room) -> Plan | None:
    """Each bundle, the largest first, where the least is left after it."""
    out: Plan = {}
    for index in _largest_first(wanted.bundles):
        need = wanted.bundles[index]
        able = [name for name, free in room.items() if _fits(need, free)]
        if not able:
            return None
        out[index] = min(able, key=lambda name: sum(room[name].get(r, 0) for r in need))
        _take(need, room[out[index]])
    return out


# -- SPREAD ----------------------------------------------------------------------------


def _spread(wanted: Wanted, room: Room) -> Plan | None:
    """Each bundle, the largest first, where the fewest of the group are."""
    out: Plan = {}
    counts = {name: wanted.used.get(name, 0) for name in room}
    for index in _largest_first(wanted.bundles):
        need = wanted.bundles[index]
        able = [name for name, free in room.items() if _fits(need, free)]
        if not able:
            return None
        name = out[index] = min(able, key=counts.__getitem__)
        counts[name] += 1
        _take(need, room[name])
    return out


def _strict_spread(wanted: Wanted, room: Room) -> Plan | None:
    """No two on one node: a matching of bundles and nodes, found by augmenting paths."""
    free = {name: units for name, units in room.items() if name not in wanted.used}
    if len(wanted.bundles) > len(free):
        return None
    holder: dict[str, int] = {}
    for index in _largest_first(wanted.bundles):
        if not _augment(index, wanted.bundles, free, holder):
            return None
    return {index: name for name, index in holder.items()}


def _augment(start: int, bundles: Mapping[int, Units], room: Room, holder: dict[str, int]) -> bool:
    """Find a node for one more bundle, moving others where that makes room."""
    came: dict[str, int] = {}
    todo = [start]
    while todo:
        index = todo.pop()
        able = [name for name in room if name not in came and _fits(bundles[index], room[name])]
        for name in able:
            came[name] = index
            if name not in holder:
                _shift(name, came, holder, start)
                return True
        todo += [holder[name] for name in able]
    return False


def _shift(name: str, came: dict[str, int], holder: dict[str, int], start: int) -> None:
    """Walk the path back: each bundle on it moves to the node that it led to."""
    at = {index: node for node, index in holder.items()}
    while True:
        index = came[name]
        before = at.get(index)
        holder[name] = index
        if index == start or before is None:
            return
        name = before


_BY_STRATEGY: dict[str, Callable[[Wanted, Room], Plan | None]] = {
    "PACK": _pack, "SPREAD": _spread, "STRICT_PACK": _strict_pack,
    "STRICT_SPREAD": _strict_spread,
}  # fmt: skip
