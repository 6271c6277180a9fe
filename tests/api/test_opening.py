"""Stored objects that are opened by the node's leave: what a store under pressure asks for."""

from __future__ import annotations

import asyncio
import gc
from time import monotonic, sleep

import numpy as np
import pytest

from ray_on_dask.runtime import current

SIZE = 1 << 20


@pytest.fixture(scope="module")
def ray(ray_session):
    ray = ray_session(object_store_memory=256 << 20)
    yield ray
    ray.shutdown()
    gc.collect()  # a session's memory hangs on cycles


@pytest.fixture
def pressed(ray):
    """A node under pressure, as far as its processes can see; it moves nothing."""
    process = current.process
    process.storing.store._slot.set_pressed(True)
    yield  # not the process: pytest would hold it for longer than the session lasts
    process.storing.store._slot.set_pressed(False)


def array(value: int = 1):
    return np.full(SIZE, value, np.uint8)


def until(condition, limit: float = 30.0):
    end = monotonic() + limit
    while not condition():
        assert monotonic() < end
        sleep(0.01)


def test_a_get_asks_the_node_and_says_when_it_has_ended(ray, pressed):
    ref = ray.put(array())
    sleep(0.4)  # it is sealed
    value = ray.get(ref)
    assert value.sum() == SIZE
    uses = current.process.storing.opening.uses
    assert [use.told for use in uses.values()] == [True]
    again = ray.get(ref)
    del value
    gc.collect()
    assert uses, "a second array of it still lives"
    del again
    until(lambda: not uses)


def test_an_object_that_nobody_else_knows_needs_no_leave_until_it_is_sealed(ray, pressed):
    ref = ray.put(array())
    value = ray.get(ref)
    (use,) = current.process.storing.opening.uses.values()
    assert not use.told
    until(lambda: use.told)
    del value
    until(lambda: not current.process.storing.opening.uses)
    assert ray.get(ref).sum() == SIZE


def test_arguments_and_results_go_through_the_node(ray, pressed):
    @ray.remote
    def add(a, b, *, c):
        return a + b + c

    refs = [ray.put(array(i)) for i in range(3)]
    results = [add.remote(refs[0], refs[1], c=refs[2]) for _ in range(20)]
    assert all(int(value.sum()) == 3 * SIZE for value in ray.get(results))
    assert all(int(value.sum()) == 3 * SIZE for value in ray.get(results * 2))
    refs.clear()
    results.clear()
    until(lambda: not current.process.storing.opening.uses)


def test_futures_and_awaits_open_without_blocking_anybody(ray, pressed):
    refs = [ray.put(array(i)) for i in range(5)]
    sleep(0.4)
    futures = [ref.future() for ref in refs]
    assert [int(future.result(10)[0]) for future in futures] == list(range(5))

    async def main():
        return [int((await ref)[0]) for ref in refs]

    assert asyncio.run(main()) == list(range(5))
    del futures
    until(lambda: not current.process.storing.opening.uses)


def test_an_async_actor_gets_arguments_by_leave(ray, pressed):
    @ray.remote
    class Adder:
        async def add(self, a, b):
            return int(a[0]) + int(b[0])

    adder = Adder.remote()
    refs = [ray.put(array(i)) for i in range(4)]
    results = [adder.add.remote(a, b) for a in refs for b in refs]
    assert ray.get(results) == [i + j for i in range(4) for j in range(4)]


def test_a_view_outlives_its_ref(ray, pressed):
    value = ray.get(ray.put(array(7)))
    for i in range(300):
        ray.put(array(i % 5))
    assert value.min() == value.max() == 7


def test_a_get_that_is_not_answered_in_time_is_a_timeout(ray, pressed):
    """An object that was never sealed is waited for, but not for longer than was said."""
    ref = ray.put(array())
    current.process.storing._unsealed.clear()
    start = monotonic()
    with pytest.raises(ray.exceptions.GetTimeoutError):
        ray.get(ref, timeout=0.2)
    with pytest.raises(ray.exceptions.GetTimeoutError):
        ray.get([ref, ref], timeout=0.2)
    assert monotonic() - start < 5
