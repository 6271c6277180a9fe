"""A node dies with objects on it: they are made again, or it is said why they cannot be."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import ray_on_dask as ray
from ray_on_dask.cluster_utils import Cluster
from ray_on_dask.exceptions import (
    ObjectLostError,
    ObjectReconstructionFailedError,
    OwnerDiedError,
    RayTaskError,
)

pytestmark = pytest.mark.cluster

SIZE = 50_000


@ray.remote(resources={"doomed": 0.1}, num_cpus=0)
def numbers(seed: Any) -> np.ndarray:
    return np.arange(SIZE) + (seed if isinstance(seed, int) else int(seed[0]))


@ray.remote(resources={"doomed": 0.1}, num_cpus=0)
def doubled(array: np.ndarray) -> np.ndarray:
    return array * 2


@ray.remote(resources={"doomed": 0.1}, num_cpus=0)
def first_of(refs: list[Any]) -> np.ndarray:
    return np.full(SIZE, ray.get(refs[0])[0])


@ray.remote(resources={"doomed": 0.1}, num_cpus=0, num_returns="streaming")
def several() -> Iterator[np.ndarray]:
    for at in range(3):
        yield np.full(SIZE, at)


@ray.remote(resources={"doomed": 0.1}, num_cpus=0, max_restarts=1, max_task_retries=2)
class Maker:
    def make(self, value: int) -> np.ndarray:
        return np.full(SIZE, value)

    def put(self) -> list[Any]:
        self.held = ray.put(np.ones(SIZE))
        return [self.held]


@ray.remote(num_cpus=0)
class Reader:
    def hold(self, refs: list[Any]) -> None:
        self.refs = refs

    def first(self) -> int:
        return int(ray.get(self.refs[0])[0])


@ray.remote
def total(array: np.ndarray) -> int:
    return int(array.sum())


@pytest.fixture(scope="module")
def lost() -> Iterator[SimpleNamespace]:
    """Refs to objects of all kinds, on a node that has died since; there is another like it."""
    cluster, made = Cluster(), SimpleNamespace()
    try:
        cluster.add_node(num_cpus=1)
        cluster.connect()
        node = cluster.add_node(num_cpus=1, resources={"doomed": 1})
        made = prepare()
        cluster.remove_node(node, allow_graceful=False)
        cluster.add_node(num_cpus=1, resources={"doomed": 1})
        yield made
    finally:
        cluster.shutdown()
        vars(made).clear()
        gc.collect()


def prepare() -> SimpleNamespace:
    made = SimpleNamespace()
    made.first = numbers.remote(1)
    made.chain = doubled.remote(doubled.remote(made.first))
    made.nested = first_of.remote([numbers.remote(5)])
    put = ray.put(np.full(SIZE, 7))
    made.of_put = numbers.remote(put)
    made.of_gone_put = numbers.remote(ray.put(np.full(SIZE, 7)))
    made.held_put = put
    made.once = numbers.options(max_retries=0).remote(1)
    made.values = list(several.remote())
    made.maker, made.reader = Maker.remote(), Reader.remote()
    made.of_actor = made.maker.make.remote(3)
    made.of_dead_actor = (dead := Maker.remote()).make.remote(4)
    made.borrowed = numbers.remote(9)
    ray.get(made.reader.hold.remote([made.borrowed]), timeout=60)
    everything = [*vars(made).values()]
    refs = [x for x in [*everything, *made.values] if isinstance(x, ray.ObjectRef)]
    _, waiting = ray.wait(refs, num_returns=len(refs), timeout=60.0)
    assert not waiting
    ray.kill(dead)
    made.of_lost_owner = ray.get(made.maker.put.remote(), timeout=60)[0]
    return made


def test_a_chain_of_lost_results_is_made_again(lost: SimpleNamespace) -> None:
    """The middle of the chain is not referred to any more; it is made for the end's sake."""
    assert ray.get(lost.chain, timeout=60)[1] == 8
    assert ray.get(total.remote(lost.first), timeout=60) == int((np.arange(SIZE) + 1).sum())


def test_what_lies_inside_an_argument_is_made_again_too(lost: SimpleNamespace) -> None:
    assert ray.get(lost.nested, timeout=60)[0] == 5


def test_a_borrower_waits_until_the_owner_has_made_it_again(lost: SimpleNamespace) -> None:
    assert ray.get(lost.reader.first.remote(), timeout=60) == 9


def test_the_values_of_a_generator_are_made_again(lost: SimpleNamespace) -> None:
    assert [int(ray.get(ref, timeout=60)[0]) for ref in lost.values] == [0, 1, 2]


def test_a_method_with_retries_runs_again_on_the_restarted_actor(lost: SimpleNamespace) -> None:
    assert ray.get(lost.of_actor, timeout=60)[0] == 3
    with pytest.raises(ObjectReconstructionFailedError, match=r"make.*actor that is dead"):
        ray.get(lost.of_dead_actor, timeout=60)


def test_a_put_that_somebody_holds_serves_again(lost: SimpleNamespace) -> None:
    assert ray.get(lost.of_put, timeout=60)[0] == 7


def test_a_put_that_is_gone_cannot_be_made_again(lost: SimpleNamespace) -> None:
    with pytest.raises(ObjectReconstructionFailedError) as failed:
        ray.get(lost.of_gone_put, timeout=60)
    text = str(failed.value)
    assert "numbers" in text and "put()" in text and lost.of_gone_put.hex() in text


def test_a_task_that_may_run_once_is_not_run_again(lost: SimpleNamespace) -> None:
    with pytest.raises(ObjectReconstructionFailedError, match=r"numbers.*max_retries=0"):
        ray.get(lost.once, timeout=60)
    with pytest.raises(RayTaskError, match="max_retries=0"):
        ray.get(total.remote(lost.once), timeout=60)


def test_an_object_whose_owner_died_with_the_node_is_lost(lost: SimpleNamespace) -> None:
    with pytest.raises(ObjectLostError) as failed:
        ray.get(lost.of_lost_owner, timeout=60)
    assert isinstance(failed.value, OwnerDiedError | ObjectLostError)
    assert lost.of_lost_owner.hex() in str(failed.value)
