"""`internal.free`: the value goes at once, but bytes that somebody reads stay what they are."""

from __future__ import annotations

import gc
from collections.abc import Callable
from time import monotonic, sleep
from typing import Any

import numpy as np
import pytest

from ray_on_dask.exceptions import ObjectFreedError
from ray_on_dask.internal import free
from ray_on_dask.runtime import current

SIZE = 1_000_000
STORM = 60


@pytest.fixture(scope="module")
def ray(ray_session: Callable[..., Any]) -> Any:
    return ray_session(object_store_memory=200_000_000)


def used() -> int:
    current.require().flush()
    return current.require().storing.store.total_used()


@pytest.fixture(autouse=True)
def all_comes_back(ray: Any) -> Any:
    """When views and refs are gone, the store has no more in it than before."""
    gc.collect()
    before = used()
    yield
    end = monotonic() + 5.0
    gc.collect()
    while used() > before:
        assert monotonic() < end, f"{used() - before} bytes are left"
        sleep(0.02)


def until(condition: Callable[[], bool]) -> None:
    end = monotonic() + 10.0
    while not condition():
        assert monotonic() < end
        sleep(0.02)


def storm(number: int = STORM) -> None:
    """Write over whatever may be written over."""
    import ray_on_dask as ray

    kept: list[Any] = []
    for _ in range(number):
        kept.append(ray.put(np.full(SIZE, 255, np.uint8)))
        del kept[:-8]


class Reader:
    """Keeps arrays, or refs."""

    def read(self, array: np.ndarray) -> None:
        self.array = array

    def keep(self, refs: list[Any]) -> None:
        import ray_on_dask as ray

        self.refs = refs
        assert int(ray.get(refs[0]).max()) == 7

    def look(self) -> tuple[int, int]:
        return int(self.array.min()), int(self.array.max())

    def drop(self) -> None:
        self.array = np.zeros(1)

    def get(self) -> str:
        import ray_on_dask as ray

        try:
            return str(ray.get(self.refs[0], timeout=10).max())
        except ObjectFreedError:
            return "freed"


@pytest.mark.parametrize("age", [0.0, 0.3], ids=["new", "known to the node"])
@pytest.mark.parametrize("shared", [False, True])
def test_an_array_keeps_its_bytes_when_its_object_is_freed(
    ray: Any, age: float, shared: bool
) -> None:
    ref = ray.put(np.full(SIZE, 7, np.uint8))
    around = ray.put([ref]) if shared else None
    sleep(age)
    array = ray.get(ref)
    free(ref)
    storm()
    assert int(array.min()) == int(array.max()) == 7
    with pytest.raises(ObjectFreedError):
        ray.get(ref, timeout=10)
    del around


def test_an_array_in_another_process_keeps_its_bytes(ray: Any) -> None:
    reader = ray.remote(num_cpus=0)(Reader).remote()
    ref = ray.put(np.full(SIZE, 7, np.uint8))
    ray.get(reader.read.remote(ref))
    before = used()
    free([ref])
    storm()
    assert ray.get(reader.look.remote()) == (7, 7)
    ray.get(reader.drop.remote())
    until(lambda: used() <= before - SIZE)  # although there is a ref


def test_a_reader_that_dies_lets_go(ray: Any) -> None:
    reader = ray.remote(num_cpus=0)(Reader).remote()
    ref = ray.put(np.full(SIZE, 7, np.uint8))
    ray.get(reader.read.remote(ref))
    before = used()
    free([ref])
    ray.kill(reader)
    until(lambda: used() <= before - SIZE)


def test_a_process_that_has_read_it_before_reads_nothing_else_in_its_place(ray: Any) -> None:
    reader = ray.remote(num_cpus=0)(Reader).remote()
    ref = ray.put(np.full(SIZE, 7, np.uint8))
    ray.get(reader.keep.remote([ref]))
    before = used()
    free([ref])
    until(lambda: used() <= before - SIZE)  # nobody reads it: its space is free at once
    storm()
    assert ray.get(reader.get.remote()) == "freed"


def test_a_result_of_another_writer_is_freed_likewise(ray: Any) -> None:
    @ray.remote
    def make() -> np.ndarray:
        return np.full(SIZE, 7, np.uint8)

    @ray.remote
    def storm_there() -> None:
        storm()

    ref = make.remote()
    array = ray.get(ref, timeout=20)
    free([ref])
    ray.get([storm_there.remote() for _ in range(2)], timeout=60)
    storm()
    assert int(array.min()) == int(array.max()) == 7
