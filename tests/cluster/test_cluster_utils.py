"""Several nodes on one machine, by `cluster_utils.Cluster`."""

from __future__ import annotations

import time

import pytest

import ray_on_dask as ray
from ray_on_dask.cluster_utils import Cluster

pytestmark = pytest.mark.cluster


def test_nodes_join_are_used_and_leave() -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        second = cluster.add_node(num_cpus=1, resources={"disk": 1})
        cluster.connect()
        assert ray.cluster_resources()["CPU"] == 2.0
        assert second.node_id in {node["NodeID"] for node in ray.nodes()}

        @ray.remote
        def where() -> str:
            return ray.get_runtime_context().get_node_id()

        on_disk = where.options(resources={"disk": 1}).remote()
        assert ray.get(on_disk, timeout=30) == second.node_id
        cluster.remove_node(second, allow_graceful=False)
        deadline = time.monotonic() + 20
        while "disk" in ray.cluster_resources() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert ray.cluster_resources()["CPU"] == 1.0
        alive = {node["NodeID"]: node["Alive"] for node in ray.nodes()}
        assert alive[second.node_id] is False
        assert ray.get(where.remote(), timeout=30) != second.node_id
        cluster.wait_for_nodes()
        assert cluster.remaining_processes_alive()
    finally:
        cluster.shutdown()
    assert not cluster.remaining_processes_alive()
