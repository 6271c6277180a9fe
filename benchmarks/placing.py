"""How long placement groups take: the control store alone, no I/O, on a thousand nodes of 64 CPUs.

Each case gives bundles placed and the seconds that they took:

- ``pack``, ``spread``, ``strict_pack``, ``strict_spread``: one group of 1,000 bundles.
- ``groups``: 1,000 groups of one bundle each.
- ``full``: 1,000 bundles of 60 CPUs, which want all nodes.
- ``moved``: a group of 1,000 bundles loses 100 of its nodes; the bundles that moved.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import process_time

from benchmarks.lease_grants import CPUS, NODES, facts_of
from ray_on_dask.core.control import ControlStore
from ray_on_dask.core.resources import UNITS
from ray_on_dask.wire import messages as m

BUNDLES = 1_000


def store_of(nodes: int) -> ControlStore:
    """A control store with so many free nodes and a driver."""
    store = ControlStore(lambda kind, facts: b"")
    for number in range(nodes):
        store.node_up(facts_of(f"n{number}"), 1.0)
    store.joined(f"n{nodes - 1}", m.Hello("driver", "driver", 1), 1.0)
    return store


def create(store: ControlStore, number: int, bundles: list[dict[str, int]], strategy: str) -> int:
    """Have a group made; the bundles that have been placed."""
    id = number.to_bytes(18, "big")
    store.handle("driver", m.CreateGroup(id, bundles, strategy), 2.0)
    return len(store.groups.groups[id].seats)


def one_group(strategy: str, units: int = UNITS) -> tuple[int, float]:
    """One group of equal bundles."""
    store = store_of(NODES)
    start = process_time()
    placed = create(store, 1, [{"CPU": units}] * BUNDLES, strategy)
    return placed, process_time() - start


def groups() -> tuple[int, float]:
    """As many groups as nodes, one after another."""
    store = store_of(NODES)
    start = process_time()
    placed = sum(create(store, i, [{"CPU": UNITS}], "PACK") for i in range(BUNDLES))
    return placed, process_time() - start


def moved() -> tuple[int, float]:
    """Nodes die one after another; each time the group is whole again."""
    store = store_of(NODES + 100)
    create(store, 1, [{"CPU": UNITS}] * BUNDLES, "STRICT_SPREAD")
    group = next(iter(store.groups.groups.values()))
    lost = [group.seats[index].node for index in range(100)]
    start = process_time()
    for name in lost:
        store.node_down(name, "killed", 3.0)
    seconds = process_time() - start
    assert group.state == "CREATED" and len({seat.node for seat in group.seats.values()}) == BUNDLES
    return len(lost), seconds


CASES: dict[str, Callable[[], tuple[int, float]]] = {
    "pack": partial(one_group, "PACK"),
    "spread": partial(one_group, "SPREAD"),
    # What they want in all has to fit on one node.
    "strict_pack": partial(one_group, "STRICT_PACK", CPUS * UNITS // BUNDLES),
    "strict_spread": partial(one_group, "STRICT_SPREAD"),
    "groups": groups,
    "full": partial(one_group, "PACK", 60 * UNITS),
    "moved": moved,
}
