"""Writing, reading and giving back, in one process and between two."""

from __future__ import annotations

import os
import stat
import threading
import time

import msgspec
import numpy as np
import pytest

from ray_on_dask.objectstore.arena import ARENA_SIZE
from ray_on_dask.objectstore.places import OWN_SEGMENT
from ray_on_dask.objectstore.segments import CHUNK
from ray_on_dask.objectstore.store import remove_files
from ray_on_dask.wire.messages import Located

LARGE = OWN_SEGMENT + 12345
LATER = 3.0

WRITER = """
import sys, msgspec
from ray_on_dask.objectstore.store import Store
store = Store(sys.argv[1], "child", "node", 1 << 30)
for size in map(int, sys.argv[2:]):
    print(msgspec.json.encode(store.write([b"x" * size], size)).decode(), flush=True)
sys.stdin.readline()
"""


def pattern(size: int, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(size)


def put(store, data: bytes) -> Located:
    return store.write([data], len(data))


def content(store, located: Located) -> bytes:
    view = store.open(located)
    data = bytes(view.memory)
    view.close()
    return data


@pytest.mark.parametrize("size", [0, 1, 64, 65, 100_000, CHUNK, 3 * CHUNK + 1, LARGE])
def test_what_was_written_is_read_cold_and_warm(store, size):
    """Each round writes by another way: `pwrite` into fresh pages, then mapped ones."""
    for seed in range(4):
        located = put(store, pattern(size, seed))
        assert content(store, located) == pattern(size, seed)
        assert located.offset % 64 == 0
        assert located.size == size
        store.validate()
        store.free(located)
    assert store.used == 0


def test_parts_are_written_one_after_the_other(store):
    parts = [pattern(n, n) for n in (1, 64, 70_000, 0, 2 * CHUNK, 5)]
    for many in (parts, parts * 20):
        whole = b"".join(many)
        assert content(store, store.write(many, len(whole))) == whole


def test_neighbours_of_a_write_stay_as_they_are(store):
    around = [put(store, pattern(CHUNK + 100, i)) for i in range(3)]
    for seed in range(10, 14):
        store.free(around[1])
        around[1] = put(store, pattern(CHUNK + 100, seed))
        for i, j in ((0, 0), (1, seed), (2, 2)):
            assert content(store, around[i]) == pattern(CHUNK + 100, j)


def test_an_allocation_may_be_filled_through_its_buffer(store):
    allocation = store.reserve(3 * CHUNK)
    allocation.buffer[:] = pattern(3 * CHUNK)
    assert content(store, allocation.located) == pattern(3 * CHUNK)


def test_views_are_read_only(store):
    view = store.open(put(store, b"12345"))
    with pytest.raises(TypeError):
        view.memory[0] = 0
    with pytest.raises(TypeError):
        view.buffer()[0] = 0
    view.close()


def test_small_objects_share_a_file_and_large_ones_do_not(store):
    small = [put(store, b"1" * n) for n in (10, 1000, 100_000)]
    large = [put(store, b"1" * LARGE) for _ in range(2)]
    assert len({at.segment for at in small}) == 1
    assert len({at.segment for at in large}) == 2
    assert os.path.basename(small[0].segment) == "a-p-1"
    assert os.path.basename(large[0].segment).startswith("s-p-")


def test_files_are_for_their_owner_alone(store, directory):
    put(store, b"1")
    put(store, b"1" * LARGE)
    modes = {stat.S_IMODE(os.stat(entry).st_mode) for entry in os.scandir(directory)}
    assert modes == {0o600}


def test_an_arena_takes_memory_only_as_it_fills(store):
    located = put(store, b"1" * 1000)
    status = os.stat(located.segment)
    assert status.st_size == ARENA_SIZE
    assert status.st_blocks * 512 == CHUNK


def test_a_second_arena_is_made_when_the_first_is_full(make_store):
    store = make_store(capacity=1 << 30)
    size = OWN_SEGMENT - 64
    places = [store.reserve(size).located for _ in range(ARENA_SIZE // size + 1)]
    assert len({at.segment for at in places}) == 2


def test_freeing_twice_is_an_error(store):
    for size in (1000, LARGE):
        located = put(store, b"1" * size)
        store.free(located)
        with pytest.raises(ValueError, match="freed before"):
            store.free(located)


def test_another_process_s_object_cannot_be_freed(store, make_store):
    with pytest.raises(ValueError, match="no object of this process"):
        store.free(put(make_store("q"), b"1" * LARGE))


def test_a_freed_segment_is_used_again_for_at_least_half_of_it(store):
    first = put(store, b"1" * LARGE * 2)
    store.free(first)
    too_small = store.reserve(OWN_SEGMENT)
    assert too_small.located.segment != first.segment
    assert put(store, b"1" * (LARGE + 10_000)).segment == first.segment


def test_warm_memory_goes_after_a_second(store, directory):
    now = time.monotonic()
    for size in (1000, 2 * CHUNK, LARGE):
        store.free(put(store, b"1" * size))
    store.trim(now)
    assert store.warm > LARGE
    store.trim(now + LATER)
    assert store.warm == 0
    assert os.listdir(directory) == ["usage"]


def test_pages_around_a_living_object_go_back_too(store):
    """One small object must not keep the memory of 64 MB alive."""
    keep = put(store, b"1" * 1000)
    others = [put(store, b"2" * CHUNK) for _ in range(10)]
    for located in others:
        store.free(located)
    store.trim(time.monotonic() + LATER)
    assert os.stat(keep.segment).st_blocks * 512 == CHUNK
    assert content(store, keep) == b"1" * 1000
    again = put(store, pattern(5 * CHUNK))
    assert content(store, again) == pattern(5 * CHUNK)


def test_warm_memory_stays_below_its_share(make_store):
    store = make_store(capacity=160 << 20)  # a quarter of it may be warm
    large = [put(store, b"1" * LARGE) for _ in range(8)]
    for located in large:
        store.free(located)
    assert 3 * LARGE < store.warm <= 40 << 20


def test_objects_outlive_a_store_that_closes_without_unlinking(make_store, directory):
    store = make_store()
    kept, freed = put(store, pattern(1000)), put(store, b"1" * LARGE)
    store.free(freed)
    store.close()
    assert not os.path.exists(freed.segment)
    assert content(make_store("q"), kept) == pattern(1000)
    remove_files(directory, "p")
    assert not os.path.exists(kept.segment)


def test_files_of_a_process_whose_name_begins_alike_are_left(make_store, directory):
    stores = [make_store(name) for name in ("p", "p-1")]
    places = [put(store, b"1") for store in stores]
    remove_files(directory, "p")
    assert [os.path.exists(at.segment) for at in places] == [False, True]


def test_a_closed_store_takes_nothing_and_forgives_a_late_free(store):
    located = put(store, b"1")
    store.close()
    store.free(located)
    with pytest.raises(ValueError, match="closed"):
        store.reserve(1)


def test_a_missing_file_and_a_false_place_are_errors(store, directory):
    with pytest.raises(FileNotFoundError):
        store.open(Located("node", f"{directory}/s-q-1", 0, 1))
    located = put(store, b"1" * LARGE)
    with pytest.raises(ValueError, match="shorter than"):
        store.open(Located("node", located.segment, 0, 2 * LARGE))


def test_many_threads_may_write_and_free_at_once(store):
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            for i in range(30):
                data = pattern((1000, 100_000, CHUNK + 7)[i % 3], seed * 100 + i)
                located = put(store, data)
                assert content(store, located) == data
                store.free(located)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert store.used == 0


def test_another_process_s_objects_are_read(store, directory, start_child):
    child = start_child(WRITER, directory, "10", "100000", str(LARGE))
    for size in (10, 100_000, LARGE):
        located = msgspec.json.decode(child.line(), type=Located)
        assert content(store, located) == b"x" * size


def test_an_arena_of_another_process_is_mapped_once(store, directory, start_child):
    child = start_child(WRITER, directory, *["1000"] * 50)
    places = [msgspec.json.decode(child.line(), type=Located) for _ in range(50)]
    views = [store.open(at) for at in places]
    with open("/proc/self/maps") as maps:
        assert sum(places[0].segment in line for line in maps) == 1
    for view in views:
        view.close()


@pytest.mark.parametrize("size", [1000, LARGE])
def test_a_mapping_goes_when_its_file_is_gone_and_nothing_reads_it(
    store, directory, start_child, size
):
    child = start_child(WRITER, directory, str(size))
    view = store.open(msgspec.json.decode(child.line(), type=Located))
    array = np.frombuffer(view.buffer(), np.uint8)
    view.close()
    remove_files(directory, "child")
    now = time.monotonic()
    for later in range(5):
        store.trim(now + later)
    assert len(store._mappings) == 1
    assert (array == ord("x")).all()
    del array
    for later in range(5, 8):
        store.trim(now + later)
    assert len(store._mappings) == 0


def test_a_child_that_was_forked_leaves_its_parent_s_files_alone(store):
    located = put(store, b"1" * 1000)
    pid = os.fork()
    if not pid:
        try:
            store.close(unlink=True)
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert content(store, located) == b"1" * 1000
    store.validate()


def test_what_is_freed_by_who_must_not_wait_is_free_when_the_thread_in_between_is_done(
    store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = store.write([b"x" * 1000], 1000)
    reserving, go_on, allocate = threading.Event(), threading.Event(), store._places.allocate

    def slow(room: int):
        reserving.set()
        go_on.wait(10)
        return allocate(room)

    monkeypatch.setattr(store._places, "allocate", slow)
    thread = threading.Thread(target=store.reserve, args=(1000,))
    thread.start()
    assert reserving.wait(10)

    store.free_soon(first)  # the thread has the lock

    go_on.set()
    thread.join(10)
    assert store.used == store._places.room_for(1000)
    store.validate()
    monkeypatch.undo()
    store.free_soon(store.write([b"y"], 1))
    assert store.used == store._places.room_for(1000)
