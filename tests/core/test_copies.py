"""Copies of objects on other nodes: found when homes die, freed with their objects."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from ray_on_dask.core.copies import TOMBSTONES, Copies
from ray_on_dask.core.instructions import Send
from ray_on_dask.wire.messages import Copied, CopiesFreed, FreeObjects, Located


def at(node):
    return Located(node, "file", 0, 10)


@pytest.fixture
def copies():
    copies = Copies()
    yield copies
    copies.validate()


def test_copies_are_freed_with_their_object(copies):
    copies.copied("b", Copied(b"x", at("b"), "a"))
    copies.copied("c", Copied(b"x", at("c"), "a"))
    assert copies.freed("a", CopiesFreed([b"x"])) == [
        Send("b", FreeObjects([b"x"])), Send("c", FreeObjects([b"x"])),
    ]  # fmt: skip
    assert copies.freed("b", CopiesFreed([b"x"])) == []
    assert len(copies) == 0


def test_a_copy_that_was_made_too_late_is_dropped(copies):
    """The object was freed while the last of it was on its way."""
    assert copies.freed("a", CopiesFreed([b"x"])) == []
    assert copies.copied("b", Copied(b"x", at("b"), "a")) == [Send("b", FreeObjects([b"x"]))]
    assert copies.copied("b", Copied(b"x", at("b"), "c")) == []  # made again, at c


def test_a_copy_becomes_the_home_when_the_home_dies(copies):
    copies.copied("b", Copied(b"x", at("b"), "a"))
    copies.copied("c", Copied(b"x", at("c"), "a"))
    copies.copied("c", Copied(b"y", at("c"), "d"))
    assert copies.node_lost("a") == {b"x": at("b")}
    assert copies.of(b"x") == {"c": at("c")}
    assert copies.freed("b", CopiesFreed([b"x"])) == [Send("c", FreeObjects([b"x"]))]
    assert copies.node_lost("c") == {}
    assert copies.of(b"y") == {}


def test_an_owner_who_does_not_know_that_an_object_has_moved_may_free_it(copies):
    copies.copied("b", Copied(b"x", at("b"), "a"))
    assert copies.node_lost("a") == {b"x": at("b")}
    assert copies.home_of(b"x") == ["b"]
    assert copies.freed("a", CopiesFreed([b"x"])) == [Send("b", FreeObjects([b"x"]))]


def test_of_an_object_that_nobody_has_any_more_nothing_is_kept(copies):
    copies.copied("b", Copied(b"x", at("b"), "a"))
    assert copies.node_lost("a") == {b"x": at("b")}
    assert copies.node_lost("b") == {}
    assert copies.home_of(b"x") == []


def test_what_no_node_that_stays_has_is_lacking(copies):
    copies.copied("b", Copied(b"x", at("b"), "a"))
    copies.copied("a", Copied(b"y", at("a"), "c"))
    assert copies.lacking([b"x", b"y", b"z"], {"b", "c"}) == [b"z"], "a leaves, only z is there"
    assert copies.lacking([b"x", b"y", b"z"], {"c"}) == [b"x", b"z"]
    copies.node_lost("a")
    assert copies.lacking([b"x", b"y"], {"b"}) == [b"y"]


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from("abc"), st.sampled_from("xyz"))))
@settings(deadline=None)
def test_whatever_happens_no_copy_outlives_its_object(events):
    """A model: who has what, and where each object is at home."""
    copies, there, homes = Copies(), set(), {}
    for what, node, name in events:
        id = name.encode()
        if what == 3:
            moved = copies.node_lost(node)
            there = {x for x in there if x[0] != node}
            for x in [x for x, home in homes.items() if home == node]:
                left = {n for n, i in there if i == x}
                assert (x in moved) == bool(left)
                if left:
                    homes[x] = moved[x].node
                    there.discard((homes[x], x))
                else:
                    del homes[x]
        elif what == 2:
            freed = {s.to for s in copies.freed(node, CopiesFreed([id]))}
            assert {n for n, i in there if i == id and n != node} <= freed
            there = {x for x in there if x[1] != id}
            homes.pop(id, None)
        elif (
            not copies.copied(node, Copied(id, at(node), "h")) and homes.setdefault(id, "h") != node
        ):
            there.add((node, id))
        copies.validate()
        known = {(n, i) for n in "abc" for i in (b"x", b"y", b"z") if n in copies.of(i)}
        assert known == there


def test_tombstones_are_bounded(copies):
    copies.freed("a", CopiesFreed([b"%d" % i for i in range(TOMBSTONES + 5)]))
    copies.validate()
