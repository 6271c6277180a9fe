"""A store that is smaller than the data: objects move to disk, and nobody notices but the clock."""

from __future__ import annotations

import contextlib
import gc
import glob
import os
from time import monotonic, sleep

import numpy as np
import pytest

from ray_on_dask.runtime import current

MB = 1 << 20
CAPACITY = 64 * MB
PIECE = 4 * MB
#: So many are in it at once: each has a header too.
FITS = CAPACITY // PIECE - 1
#: Three times the store.
COUNT = 3 * CAPACITY // PIECE


@pytest.fixture(scope="module")
def spill_directory(tmp_path_factory):
    return tmp_path_factory.mktemp("spilled")


@pytest.fixture(scope="module")
def ray(ray_session, spill_directory):
    """A small store that spills where it was told to; a put waits no longer than a second."""
    os.environ["DASK_RAY_ON_DASK__STORE_WAIT"] = "1.0"
    yield ray_session(object_store_memory=CAPACITY, object_spilling_directory=str(spill_directory))
    del os.environ["DASK_RAY_ON_DASK__STORE_WAIT"]


def piece(number):
    return np.full(PIECE, number % 251, np.uint8)


def files(spill_directory):
    return glob.glob(f"{spill_directory}/*/*-spill/o-*")


def until(condition, limit=15.0):
    end = monotonic() + limit
    while not condition():
        assert monotonic() < end
        gc.collect()
        sleep(0.02)


def used():
    return current.process.storing.store.total_used()


@pytest.fixture(autouse=True)
def all_is_given_back(ray, spill_directory):
    """After each test nothing is left in memory or on disk."""
    yield
    until(lambda: used() == 0 and not files(spill_directory))


def test_three_times_the_store_by_the_driver(ray, spill_directory):
    refs = [ray.put(piece(i)) for i in range(COUNT)]
    assert used() <= CAPACITY
    spilled = files(spill_directory)
    assert sum(map(os.path.getsize, spilled)) >= 2 * CAPACITY - PIECE
    assert all(os.stat(path).st_mode & 0o777 == 0o600 for path in spilled)
    assert os.stat(os.path.dirname(spilled[0])).st_mode & 0o777 == 0o700
    for i, ref in enumerate(refs):
        value = ray.get(ref)
        assert value[0] == i % 251 and value[-1] == i % 251 and len(value) == PIECE
        assert not value.flags.writeable
    until(lambda: ray.nodes()[0]["ObjectStore"].get("objects", 0) == COUNT)  # told each second
    (seen,) = [node["ObjectStore"] for node in ray.nodes()]
    assert seen["capacity"] == CAPACITY and seen["pressed"] == 1
    assert seen["spilled"] >= 2 * CAPACITY - PIECE
    assert seen["used"] <= CAPACITY and 0 < seen["spilled_objects"] < COUNT
    together = ray.get(refs)  # more at once than there is memory for
    assert [int(value[7]) for value in together] == [i % 251 for i in range(COUNT)]


def test_three_times_the_store_by_tasks(ray):
    @ray.remote
    def make(number):
        return np.full(PIECE, number % 251, np.uint8)

    @ray.remote
    def total(*arrays):
        return sum(int(array.sum(dtype=np.int64)) for array in arrays)

    made = [make.remote(i) for i in range(COUNT)]
    again = [total.remote(ref) for ref in made]
    assert ray.get(again, timeout=60) == [i * PIECE for i in range(COUNT)]
    assert ray.get(total.remote(*made), timeout=60) == sum(range(COUNT)) * PIECE


def test_values_passed_through_actors(ray):
    @ray.remote
    class Keeper:
        def __init__(self):
            self.kept = []

        def keep(self, array):
            self.kept.append(array)
            return len(self.kept)

        def sums(self):
            return [int(array.sum(dtype=np.int64)) for array in self.kept]

    keeper = Keeper.remote()
    for i in range(10):  # views that stay, so their objects stay in memory
        ray.get(keeper.keep.remote(ray.put(piece(i))))
    refs = [ray.put(piece(i)) for i in range(COUNT)]
    assert ray.get(keeper.sums.remote()) == [i * PIECE for i in range(10)]
    assert all(int(ray.get(ref)[-1]) == i % 251 for i, ref in enumerate(refs))


def test_small_objects_share_files(ray, spill_directory):
    refs = [ray.put(np.full(200_000, i % 251, np.uint8)) for i in range(900)]
    assert len(files(spill_directory)) < 50
    values = ray.get(refs)
    assert all(int(value[-1]) == i % 251 for i, value in enumerate(values))
    del refs[::2], values
    assert all(int(ray.get(ref)[0]) == (2 * i + 1) % 251 for i, ref in enumerate(refs))


def test_a_view_keeps_its_bytes_while_all_around_it_moves(ray):
    views = [ray.get(ray.put(piece(i))) for i in range(5)]
    for i in range(COUNT):
        ray.put(piece(100 + i))
    refs = [ray.put(piece(i)) for i in range(COUNT)]
    assert all(view.min() == view.max() == i for i, view in enumerate(views))
    del refs


def test_a_full_store_of_objects_in_use_is_an_error_that_names_them(ray):
    views = [ray.get(ray.put(piece(i))) for i in range(FITS)]
    start = monotonic()
    with pytest.raises(ray.exceptions.ObjectStoreFullError) as failure:
        ray.put(piece(0))
    assert monotonic() - start > 0.9
    text = str(failure.value)
    assert "object of 4,194," in text and f"driver {os.getpid()}" in text and "put-" in text
    views.pop()
    gc.collect()
    assert int(ray.get(ray.put(piece(9)))[0]) == 9
    del views


def test_what_can_never_fit_is_an_error_at_once(ray):
    start = monotonic()
    with pytest.raises(ray.exceptions.ObjectStoreFullError, match=f"{CAPACITY:,}"):
        ray.put(np.zeros(CAPACITY + 1, np.uint8))
    assert monotonic() - start < 0.9


def test_a_put_waits_for_views_to_go(ray):
    @ray.remote
    class Holder:
        def hold(self, *arrays):
            self.held = arrays

        def let_go_soon(self):
            sleep(0.3)
            self.held = None

    holder = Holder.remote()
    ray.get(holder.hold.remote(*[ray.put(piece(i)) for i in range(FITS)]))
    done = holder.let_go_soon.remote()
    assert int(ray.get(ray.put(piece(3)))[0]) == 3
    ray.get(done)


def test_several_processes_that_wait_all_get_room(ray):
    @ray.remote
    def fill(number):
        refs = [ray.put(np.full(PIECE, number, np.uint8)) for _ in range(12)]
        return [int(ray.get(ref)[-1]) for ref in refs]

    results = ray.get([fill.remote(i) for i in range(6)], timeout=60)
    assert results == [[i] * 12 for i in range(6)]


def test_dask_reads_what_lies_on_disk(ray):
    first = ray.put(piece(17))
    refs = [ray.put(piece(i)) for i in range(COUNT)]
    until(lambda: not os.path.exists(first._entry.data.segment) or used() <= CAPACITY)
    value = first.dask_future().result(20)
    assert value.min() == value.max() == 17
    del refs


def test_an_executor_that_is_killed_leaves_nothing_behind(ray):
    @ray.remote(max_retries=0)
    def fill_and_die():
        refs = [ray.put(np.full(PIECE, 1, np.uint8)) for _ in range(COUNT)]
        os._exit(len(refs))

    with pytest.raises(ray.exceptions.WorkerCrashedError):
        ray.get(fill_and_die.remote())


def test_a_disk_that_is_full_is_an_error_and_nothing_is_lost(ray, spill_directory):
    """No object can be moved; what is there is read as ever, and goes when it is dropped."""
    (directory,) = glob.glob(f"{spill_directory}/*/*-spill")
    refs = [ray.put(piece(i)) for i in range(FITS)]
    aside = f"{directory}.aside"
    os.rename(directory, aside)
    try:
        with pytest.raises(ray.exceptions.ObjectStoreFullError, match="cannot be moved to disk"):
            ray.put(piece(0))
        assert [int(ray.get(ref)[-1]) for ref in refs] == list(range(len(refs)))
    finally:
        os.rename(aside, directory)
    refs += [ray.put(piece(i)) for i in range(FITS, COUNT)]
    assert [int(ray.get(ref)[-1]) for ref in refs] == [i % 251 for i in range(COUNT)]
    with contextlib.suppress(AttributeError):
        refs.clear()
