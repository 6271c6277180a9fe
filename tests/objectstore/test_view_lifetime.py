"""Bytes that somebody can still see are never given to another object."""

from __future__ import annotations

import gc
from collections import deque

import numpy as np
import pytest

from ray_on_dask.objectstore.places import OWN_SEGMENT
from ray_on_dask.objectstore.view import View
from ray_on_dask.serialization import deserialize_view, parts, serialize

SIZES = [20_000, 3 << 20, OWN_SEGMENT + (1 << 20)]


class Objects:
    """The least that an owner does: an object is freed when its ref and its views are gone."""

    def __init__(self, store):
        self.store = store
        self.dead: deque[object] = deque()

    def put(self, value):
        serialized = serialize(value)
        located = self.store.write(parts(serialized), serialized.size)
        return self.store.open(located, lambda: self.dead.append(located))

    def collect(self) -> int:
        freed = 0
        while self.dead:
            self.store.free(self.dead.popleft())
            freed += 1
        return freed


@pytest.fixture
def objects(store):
    return Objects(store)


@pytest.mark.parametrize("size", SIZES)
def test_an_array_that_outlives_its_ref_keeps_its_bytes_under_a_storm_of_puts(objects, size):
    held = []
    for i in range(4):
        view = objects.put(np.full(size, i, np.uint8))
        held.append(deserialize_view(view))
        view.close()
    for i in range(40):
        objects.put(np.full(size, 100 + i, np.uint8)).close()
        objects.collect()
    for i, array in enumerate(held):
        assert (array == i).all()
    del held, array
    assert objects.collect() == 4
    assert objects.store.used == 0
    assert objects.store.live_views == 0


def test_every_way_to_hold_on_to_an_array_is_a_hold(objects):
    pandas = pytest.importorskip("pandas")
    ways = [
        lambda value: value["a"][3:5],
        lambda value: value["a"].reshape(10, -1).T,
        lambda value: value["a"].view(np.uint8),
        lambda value: memoryview(value["a"]),
        lambda value: value["b"],
        lambda value: [value["a"].data[2:]],
        lambda value: pandas.Series(value["a"], copy=False),
        lambda value: iter(value["a"]),
        lambda value: np.asarray(memoryview(value["a"])),
    ]
    for way in ways:
        view = objects.put({"a": np.arange(5000.0), "b": np.ones(5000)})
        keep = way(deserialize_view(view))
        view.close()
        gc.collect()
        assert not objects.dead and view.alive
        del keep
        assert objects.collect() == 1 and not view.alive


def test_the_view_itself_is_a_hold_until_it_is_closed(objects):
    view = objects.put(np.arange(5000.0))
    for _ in range(3):
        assert deserialize_view(view)[7] == 7
    assert not objects.dead
    view.close()
    view.close()
    assert objects.collect() == 1
    with pytest.raises(ValueError, match="closed"):
        deserialize_view(view)


def test_a_value_without_buffers_holds_nothing(objects):
    view = objects.put(["x" * 10_000])
    value = deserialize_view(view)
    view.close()
    assert objects.collect() == 1
    assert value == ["x" * 10_000]


def test_raw_bytes_are_copies_and_hold_nothing(objects):
    view = objects.put(b"x" * 100_000)
    value = deserialize_view(view)
    view.close()
    assert objects.collect() == 1
    assert type(value) is bytes and value == b"x" * 100_000


def test_a_view_that_is_dropped_without_being_closed_is_closed(objects):
    deserialize_view(objects.put(np.arange(5000.0)))
    objects.put(5)
    assert objects.collect() == 2


def test_an_array_in_a_reference_cycle_is_let_go_of_by_the_collector(objects):
    view = objects.put(np.arange(5000.0))
    cycle = [deserialize_view(view)]
    cycle.append(cycle)
    view.close()
    del cycle
    gc.collect()
    assert objects.collect() == 1


def test_a_read_in_the_middle_of_the_first_read_shares_its_life(objects, monkeypatch):
    """Another thread, or a destructor, may read a view that is just being read first.

    Were there two lives for one view, it would be given up with the first.
    """
    view = objects.put(np.arange(5000.0))
    notice, inner = View._death_notice, []

    def interrupted(self):
        monkeypatch.setattr(View, "_death_notice", notice)
        inner.append(deserialize_view(view))
        return notice(self)

    monkeypatch.setattr(View, "_death_notice", interrupted)
    outer = deserialize_view(view)
    view.close()
    assert outer.ctypes.data == inner[0].ctypes.data
    del outer
    assert not objects.dead
    inner.clear()
    assert objects.collect() == 1


def test_arrays_stay_readable_after_the_store_is_closed(objects):
    view = objects.put(np.arange(5000.0))
    array = deserialize_view(view)
    view.close()
    objects.store.close(unlink=True)
    assert array.sum() == np.arange(5000.0).sum()
