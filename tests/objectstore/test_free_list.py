"""The allocator against a model: ranges never overlap, and all space comes back."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
)

from ray_on_dask.objectstore.free_list import ALIGNMENT, FreeList, aligned

SPAN = 64 * ALIGNMENT


class Allocations(RuleBasedStateMachine):
    """Allocate and free in any order, beside a plain dict of what is taken."""

    taken = Bundle("taken")

    def __init__(self) -> None:
        super().__init__()
        self.space = FreeList(SPAN)
        self.model: dict[int, int] = {}

    @rule(target=taken, size=st.integers(0, SPAN + 1))
    def allocate(self, size: int):
        start = self.space.allocate(size)
        length = aligned(size) or ALIGNMENT
        if start is None:
            assert all(stop - begin < length for begin, stop in self.gaps())
            return multiple()
        assert start % ALIGNMENT == 0
        assert any(begin <= start and start + length <= stop for begin, stop in self.gaps())
        self.model[start] = length
        return start

    @rule(start=consumes(taken))
    def free(self, start: int) -> None:
        assert self.space.free(start) == self.model.pop(start)

    def gaps(self) -> list[tuple[int, int]]:
        """What the model holds to be free."""
        edges = [0]
        for start in sorted(self.model):
            edges += [start, start + self.model[start]]
        edges.append(SPAN)
        return [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if a < b]

    @invariant()
    def agrees_with_the_model(self) -> None:
        self.space.validate()
        assert list(self.space.free_ranges()) == self.gaps()
        assert self.space.used == sum(self.model.values())


TestAllocations = Allocations.TestCase
TestAllocations.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


@settings(deadline=None)
@given(st.lists(st.integers(1, 500), max_size=20), st.randoms())
def test_all_space_is_one_range_again_when_everything_is_freed(sizes, random):
    space = FreeList(SPAN)
    starts = [s for s in map(space.allocate, sizes) if s is not None]
    random.shuffle(starts)
    for start in starts:
        space.free(start)
    assert list(space.free_ranges()) == [(0, SPAN)]
    assert space.allocate(SPAN) == 0


def test_the_lowest_range_that_fits_is_taken():
    space = FreeList(SPAN)
    starts = [space.allocate(2 * ALIGNMENT) for _ in range(4)]
    space.free(starts[0])
    space.free(starts[2])
    assert space.allocate(ALIGNMENT) == starts[0]


def test_freeing_twice_is_an_error():
    space = FreeList(SPAN)
    start = space.allocate(1)
    space.free(start)
    with pytest.raises(ValueError, match="nothing is allocated at offset 0"):
        space.free(start)
