"""Two nodes on one host: objects are handed over where they lie, and pinned at the node."""

from __future__ import annotations

import gc
from time import monotonic, sleep

import numpy as np
import pytest

import ray_on_dask as ray
from ray_on_dask.cluster_utils import Cluster
from ray_on_dask.runtime import current

pytestmark = pytest.mark.cluster

SIZE = 1 << 20


@pytest.fixture(scope="module")
def cluster():
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.second = cluster.add_node(num_cpus=1, resources={"there": 1})
    cluster.connect()
    yield cluster
    cluster.shutdown()


@ray.remote
def make(number):
    return np.full(SIZE, number, np.uint8)


@ray.remote
def total(*arrays):
    return sum(int(array.sum()) for array in arrays)


def until(condition, limit=10.0):
    end = monotonic() + limit
    while not condition():
        assert monotonic() < end
        sleep(0.01)


def test_an_object_of_the_other_node_is_read_where_it_lies(cluster):
    there = make.options(resources={"there": 0.1})
    refs = [there.remote(number) for number in range(4)]
    values = ray.get(refs, timeout=30)
    assert [int(value[-1]) for value in values] == [0, 1, 2, 3]
    uses = current.process.storing.opening.uses
    assert len(uses) == 4 and all(use.value.at == use.entry.data for use in uses.values())
    assert all(use.entry.data.node == cluster.second.node_id for use in uses.values())
    del values
    gc.collect()
    until(lambda: not uses)
    assert ray.get(total.remote(*refs), timeout=30) == 6 * SIZE
    mine = ray.put(np.ones(SIZE, np.uint8))
    far = total.options(resources={"there": 0.1})
    assert ray.get(far.remote(mine, *refs), timeout=30) == 7 * SIZE
    assert int(refs[3].future().result(10)[0]) == 3


def test_when_the_other_node_dies_reads_end_in_an_error_and_views_stay(cluster):
    ref = make.options(resources={"there": 0.1}, max_retries=0).remote(5)
    value = ray.get(ref, timeout=30)
    second = cluster.second.node_id
    cluster.remove_node(cluster.second, allow_graceful=False)
    until(lambda: {x["NodeID"]: x["Alive"] for x in ray.nodes()}[second] is False, 40)
    assert value.min() == value.max() == 5
    del value
    with pytest.raises(ray.exceptions.RayError):
        ray.get(ref, timeout=60)
