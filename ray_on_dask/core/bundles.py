"""Which nodes the bundles of a placement group go to: all of them, or none.

Nothing is taken here: the answer is a plan. `room` is what each node could give, the order of the
nodes is the order of preference where there is no other reason. Bundles that are alike are placed
together, and nodes wait in heaps, so that a thousand bundles on a thousand nodes take milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush, heapreplace

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
    return _BY_STRATEGY[wanted.strategy](wanted, dict(room))


#: What each node could give; what is taken from a node replaces its entry.
Room = dict[str, Units]
#: Bundles by what they need, the largest needs first; indices are taken from the end.
Kinds = list[tuple[Units, list[int]]]


def _fits(need: Units, free: Units) -> bool:
    return all(units <= free.get(name, 0) for name, units in need.items() if units > 0)


def _less(free: Units, need: Units, times: int = 1) -> dict[str, int]:
    """What is left when the need has been taken so often."""
    left = dict(free)
    for name, units in need.items():
        left[name] = left.get(name, 0) - units * times
    return left


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


def _alike(bundles: Mapping[int, Units]) -> Kinds:
    kinds: dict[tuple[tuple[str, int], ...], list[int]] = {}
    for index in _largest_first(bundles):
        kinds.setdefault(tuple(sorted(bundles[index].items())), []).append(index)
    return [(dict(kind), indices[::-1]) for kind, indices in kinds.items()]


# -- PACK ------------------------------------------------------------------------------


def _pack(wanted: Wanted, room: Room) -> Plan | None:
    """The node that takes most of what is left, again and again; else bundle by bundle."""
    return _pack_greedily(wanted, dict(room)) or _pack_singly(wanted, room)


def _pack_greedily(wanted: Wanted, room: Room) -> Plan | None:
    left = _alike(wanted.bundles)
    out: Plan = {}
    for name in wanted.used:
        if name in room:
            room[name] = _fill(name, room[name], left, out)
    # What a node takes of what is left grows no more: the first whose count still holds is best.
    names, heap = list(room), []
    for at, name in enumerate(names):
        count = _capacity(room[name], left)
        heap.append((-count, at))
        if count == len(wanted.bundles) - len(out):
            break
    heapify(heap)
    while len(out) < len(wanted.bundles):
        if not heap or not heap[0][0]:
            return None
        count, at = heap[0]
        now = -_capacity(room[names[at]], left)
        if now > count:
            heapreplace(heap, (now, at))
        else:
            heappop(heap)
            _fill(names[at], room[names[at]], left, out)
    return out


def _capacity(free: Units, left: Kinds) -> int:
    """How many of the bundles that are left a node takes."""
    count = 0
    for need, indices in left:
        times = min(len(indices), _how_many(need, free)) if indices else 0
        if times:
            free = _less(free, need, times)
            count += times
    return count


def _fill(name: str, free: Units, left: Kinds, out: Plan) -> Units:
    for need, indices in left:
        times = min(len(indices), _how_many(need, free))
        if times:
            free = _less(free, need, times)
            out.update((index, name) for index in indices[-times:])
            del indices[-times:]
    return free


def _pack_singly(wanted: Wanted, room: Room) -> Plan | None:
    """Each bundle, the largest first, where the least is left after it."""
    out: Plan = {}
    for need, indices in _alike(wanted.bundles):
        names = list(room)
        heap = [
            (_left(room[name], need), at)
            for at, name in enumerate(names) if _fits(need, room[name])
        ]  # fmt: skip
        heapify(heap)
        while indices:
            if not heap:
                return None
            at = heappop(heap)[1]
            name = out[indices.pop()] = names[at]
            free = room[name] = _less(room[name], need)
            if _fits(need, free):
                heappush(heap, (_left(free, need), at))
    return out


def _left(free: Units, need: Units) -> int:
    return sum(free.get(name, 0) for name in need)


# -- SPREAD ----------------------------------------------------------------------------


def _spread(wanted: Wanted, room: Room) -> Plan | None:
    """Each bundle, the largest first, where the fewest of the group are."""
    out: Plan = {}
    names = list(room)
    counts = [wanted.used.get(name, 0) for name in names]
    for need, indices in _alike(wanted.bundles):
        heap = [(counts[at], at) for at, name in enumerate(names) if _fits(need, room[name])]
        heapify(heap)
        while indices:
            if not heap:
                return None
            count, at = heappop(heap)
            name = out[indices.pop()] = names[at]
            free = room[name] = _less(room[name], need)
            counts[at] = count + 1
            if _fits(need, free):
                heappush(heap, (count + 1, at))
    return out


def _strict_spread(wanted: Wanted, room: Room) -> Plan | None:
    """No two on one node: a matching of bundles and nodes, found by augmenting paths."""
    free = {name: units for name, units in room.items() if name not in wanted.used}
    if len(wanted.bundles) > len(free):
        return None
    holder: dict[str, int] = {}
    for need, indices in _alike(wanted.bundles):
        unused = iter([name for name in free if name not in holder and _fits(need, free[name])])
        while indices:
            name = next(unused, None)
            if name is not None:
                holder[name] = indices.pop()
            elif not _augment(indices.pop(), wanted.bundles, free, holder):
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
