"""Demands that lack leases: which of them is to be served first on a node that has room.

A cluster may have tens of thousands that wait, and a lease may end every few microseconds, so
none of this looks at them all. Demands that fit on the same nodes (their *shape*: resources and
strategy) share a heap; a node is asked once for each shape. Entries whose demand has changed its
rank since are left in the heap and thrown away when they come up.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from heapq import heapify, heappop, heappush

from ray_on_dask.core.lease_records import Demand, Key, Rank

Entry = tuple[Rank, Demand]
Shape = tuple[object, ...]


class Waiting:
    """The demands that lack leases: urgent ones first, then who has least, then the oldest."""

    def __init__(self) -> None:
        self.demands: dict[Key, Demand] = {}
        self._heaps: dict[Shape, list[Entry]] = {}
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self.demands)

    def __iter__(self) -> Iterator[Demand]:
        return iter(self.demands.values())

    def note(self, demand: Demand) -> None:
        """The demand has changed: enter it if it lacks leases, at its new rank; else forget it."""
        if demand.lacks <= 0:
            demand.rank = None
            self.demands.pop(demand.key, None)
            return
        rank = (not demand.urgent, len(demand.leases), demand.since, next(self._numbers))
        if demand.rank is not None and demand.rank[:3] == rank[:3]:
            return
        demand.rank = rank
        self.demands[demand.key] = demand
        heap = self._heaps.setdefault(_shape(demand), [])
        heappush(heap, (rank, demand))
        if len(heap) > 4 * len(self.demands) + 64:
            heap[:] = [entry for entry in heap if entry[1].rank is entry[0]]
            heapify(heap)

    def first(self, may: Callable[[Demand], bool]) -> Demand | None:
        """The neediest of those that `may` be served; it is asked once for each shape."""
        best: Entry | None = None
        for shape, heap in list(self._heaps.items()):
            while heap and heap[0][1].rank is not heap[0][0]:
                heappop(heap)
            if not heap:
                del self._heaps[shape]
            elif (best is None or heap[0][0] < best[0]) and may(heap[0][1]):
                best = heap[0]
        return best[1] if best is not None else None

    def validate(self) -> None:
        """Assert that each that lacks has exactly one valid entry."""
        valid = [entry for heap in self._heaps.values() for entry in heap
                 if entry[1].rank is entry[0]]  # fmt: skip
        assert len(valid) == len(self.demands)
        for rank, demand in valid:
            assert self.demands[demand.key] is demand and demand.lacks > 0
            assert rank[:3] == (not demand.urgent, len(demand.leases), demand.since), demand.key


def _shape(demand: Demand) -> Shape:
    """What decides whether a demand fits on a node."""
    strategy = demand.spec.strategy
    held = demand.lifetime
    return (
        tuple(demand.spec.resources.items()),
        None if held is None else tuple(held.items()),
        strategy if strategy[0] == "{" else "",
    )
