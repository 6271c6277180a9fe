"""What is counted against the capacity, by whom, and what happens at the limit."""

from __future__ import annotations

import errno
import os

import pytest

from ray_on_dask.exceptions import ObjectStoreFullError
from ray_on_dask.objectstore.places import OWN_SEGMENT
from ray_on_dask.objectstore.usage import clear_usage, usage, warm_usage

LARGE = 2 * OWN_SEGMENT
SMALL = 64 << 10

HOLDER = """
import sys
from ray_on_dask.objectstore.store import Store
store = Store(sys.argv[1], "child", "node", int(sys.argv[2]))
allocation = store.reserve(int(sys.argv[3]))
print(store.used, flush=True)
sys.stdin.readline()
store.free(allocation.located)
print(store.used, flush=True)
sys.stdin.readline()
"""


def test_the_limit_is_an_error_that_names_the_sizes(make_store):
    store = make_store(capacity=LARGE + SMALL)
    store.reserve(LARGE)
    with pytest.raises(ObjectStoreFullError) as failure:
        store.reserve(LARGE)
    for size in (LARGE, store.capacity):
        assert f"{size:,}" in str(failure.value)
    store.reserve(SMALL)
    with pytest.raises(ObjectStoreFullError):
        store.reserve(1)


def test_what_fails_is_not_counted(make_store):
    store = make_store(capacity=LARGE)
    for size in (2 * LARGE, LARGE + 1):
        with pytest.raises(ObjectStoreFullError):
            store.reserve(size)
    assert store.used == store.total_used() == 0
    store.reserve(LARGE)


def test_freed_space_counts_as_free(make_store):
    store = make_store(capacity=LARGE)
    for _ in range(5):
        store.free(store.reserve(LARGE).located)
        places = [store.reserve(SMALL).located for _ in range(LARGE // SMALL)]
        assert store.warm == 0, "warm memory beside a full store"
        for located in places:
            store.free(located)


def test_a_warm_segment_that_is_too_large_for_what_is_left_is_not_used(make_store):
    """It would count with its whole length."""
    store = make_store(capacity=2 * LARGE + SMALL)
    warm = store.reserve(2 * LARGE).located
    store.free(warm)
    store.reserve(SMALL * 2)
    assert store.reserve(LARGE).located.segment != warm.segment


def test_all_processes_count_together(make_store, directory, start_child):
    store = make_store(capacity=3 * LARGE)
    child = start_child(HOLDER, directory, str(store.capacity), str(2 * LARGE))
    assert int(child.line()) == 2 * LARGE
    store.reserve(LARGE)
    assert usage(directory) == {os.getpid(): LARGE, child.process.pid: 2 * LARGE}
    with pytest.raises(ObjectStoreFullError):
        store.reserve(SMALL)
    child.tell("free")
    assert int(child.line()) == 0
    store.reserve(LARGE)


def test_what_a_dead_process_used_is_cleared_by_whoever_notices(make_store, directory, start_child):
    store = make_store(capacity=2 * LARGE)
    child = start_child(HOLDER, directory, str(store.capacity), str(2 * LARGE))
    child.line()
    child.kill()
    with pytest.raises(ObjectStoreFullError):
        store.reserve(LARGE)
    clear_usage(directory, child.process.pid)
    assert usage(directory) == {os.getpid(): 0}
    store.reserve(LARGE)


def test_a_slot_is_free_for_the_next_process_when_its_owner_closes(make_store, directory):
    for i in range(20):
        store = make_store(f"p{i}")
        store.reserve(SMALL)
        store.close(unlink=True)
    assert usage(directory) == {}
    assert os.path.getsize(os.path.join(directory, "usage")) < 1 << 20


def test_objects_left_behind_by_a_closed_store_still_count(make_store, directory):
    store = make_store()
    store.reserve(LARGE)
    store.close()
    assert usage(directory) == {os.getpid(): LARGE}


def test_warm_memory_of_all_processes_keeps_to_one_share(make_store, directory):
    stores = [make_store(f"p{i}", capacity=10 * LARGE) for i in range(3)]
    for located in [(store, store.reserve(LARGE).located) for store in stores]:
        located[0].free(located[1])
    assert sum(warm_usage(directory).values()) <= 10 * LARGE // 4


def test_room_that_is_made_is_taken_and_counted_once(make_store):
    """What was promised is taken although the count says that the store is full."""
    places, asked, taken = [], [], []

    def make_room(size: int, no_memory: bool):
        asked.append((size, no_memory))
        if not places:
            raise ObjectStoreFullError("as the node says")
        for _ in range(3):
            store.free(places.pop())
        store._slot.add(size)  # what the node does, so that nobody else takes it

        def took() -> None:
            store._slot.add(-size)
            taken.append(size)

        return took

    store = make_store(capacity=4 * LARGE, make_room=make_room)
    places += [store.reserve(LARGE).located for _ in range(4)]
    store.reserve(3 * LARGE)
    assert asked == [(3 * LARGE, False)] and taken == [3 * LARGE]
    assert store.used == store.total_used() == 4 * LARGE
    places.clear()
    with pytest.raises(ObjectStoreFullError, match="as the node says"):
        store.reserve(LARGE)
    with pytest.raises(ObjectStoreFullError, match="no room for an object of"):
        store.reserve(4 * LARGE + 1)
    assert len(asked) == 2, "what can never fit is not asked for"
    small = store.reserve(SMALL, at_once=True).located
    assert store.total_used() == 4 * LARGE + SMALL
    store.free(small)


def full_file_system(times: int):
    """`posix_fallocate` as it is on a full file system, the first so many times."""
    real, left = os.posix_fallocate, [times]

    def fail(*args: int) -> None:
        if left[0]:
            left[0] -= 1
            raise OSError(errno.ENOSPC, "No space left on device")
        real(*args)

    return fail


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_a_full_file_system_is_the_same_error_and_leaves_nothing(
    store, directory, monkeypatch, size
):
    monkeypatch.setattr(os, "posix_fallocate", full_file_system(10))
    with pytest.raises(ObjectStoreFullError):
        store.reserve(size)
    assert store.used == store.total_used() == 0
    assert not [name for name in os.listdir(directory) if name.startswith("s-")]
    store.validate()


def test_a_full_file_system_gets_the_warm_memory_first(store, monkeypatch):
    store.free(store.reserve(LARGE).located)
    monkeypatch.setattr(os, "posix_fallocate", full_file_system(1))
    store.reserve(SMALL)
    assert store.warm < LARGE
