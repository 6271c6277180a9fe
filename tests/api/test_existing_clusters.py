"""`init` with a Dask client or a cluster object."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from distributed import Client, LocalCluster

import ray_on_dask as ray

pytestmark = pytest.mark.timeout(90)


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[Client]:
    """A client of it, and a session that ends with the test."""
    with Client(cluster, set_as_default=False) as client:
        yield client
        ray.shutdown()
        gc.collect()


@ray.remote
def total(array: Any) -> int:
    return int(np.sum(array))


def test_a_cluster_object_is_joined_and_left_running(cluster: LocalCluster, client: Client) -> None:
    context = ray.init(cluster)
    assert context["address"] == cluster.scheduler_address
    assert ray.get(total.remote([1, 2]), timeout=30) == 3
    ray.shutdown()
    assert client.submit(sum, [1, 2]).result(timeout=20) == 3


def test_a_client_is_joined_and_stays_open(client: Client) -> None:
    ray.init(client)
    assert ray.get(total.remote([1, 2]), timeout=30) == 3
    ray.shutdown()
    assert client.status == "running"


def test_an_asynchronous_client_is_joined(cluster: LocalCluster, client: Client) -> None:
    async def main() -> int:
        async with Client(cluster.scheduler_address, asynchronous=True) as other:
            ray.init(other)
            return int(await total.remote([1, 2]))

    assert asyncio.run(main()) == 3


def test_a_cluster_in_one_process_is_joined() -> None:
    """Scheduler and nodes share the driver's process, and Dask messages are its own calls."""
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0"
    ) as cluster:
        ray.init(cluster)
        assert sum(node["Alive"] for node in ray.nodes()) == 2
        assert ray.get([total.remote([i]) for i in range(50)], timeout=30) == list(range(50))
        ray.shutdown()
    gc.collect()


def test_what_is_no_cluster_or_closed_is_refused(cluster: LocalCluster) -> None:
    with pytest.raises(TypeError, match=r"a distributed\.Client or a cluster object"):
        ray.init(object())
    with Client(cluster, set_as_default=False) as gone:
        pass
    with pytest.raises(ConnectionError, match="closed"):
        ray.init(gone)
    with LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0") as ended:
        pass
    with pytest.raises(ConnectionError, match="closed"):
        ray.init(ended)


def test_resources_with_a_cluster_are_refused(cluster: LocalCluster) -> None:
    with pytest.raises(ValueError, match="belong to the cluster"):
        ray.init(cluster, num_cpus=2)
