"""Where things go on several nodes, and where they go on when a node dies."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ray_on_dask as ray
from ray_on_dask.cluster_utils import Cluster
from ray_on_dask.exceptions import TaskUnschedulableError
from ray_on_dask.test_utils import wait_for_condition
from ray_on_dask.util import placement_group, placement_group_table, remove_placement_group
from ray_on_dask.util.scheduling_strategies import (
    NodeAffinitySchedulingStrategy,
    PlacementGroupSchedulingStrategy,
)

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(150)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Three nodes; the driver is on the first."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 4, "labels": {"zone": "a"}})
    cluster.connect()
    for zone in "bc":
        cluster.add_node(num_cpus=2, labels={"zone": zone}, resources={"disk": 1}, memory=10**9)
    yield cluster
    cluster.shutdown()


@ray.remote
def where(seconds: float = 0.0) -> str:
    """The node that it runs on."""
    time.sleep(seconds)
    return ray.get_runtime_context().get_node_id()


def test_options_of_nodes_are_theirs(cluster: Cluster) -> None:
    nodes = {node["NodeID"]: node for node in ray.nodes()}
    assert [nodes[x.node_id]["Labels"]["zone"] for x in cluster.list_all_nodes()] == ["a", "b", "c"]
    second = nodes[cluster.nodes[1].unique_id]["Resources"]
    assert (second["CPU"], second["disk"], second["memory"]) == (2.0, 1.0, 10**9)
    assert cluster.head_node is cluster.nodes[0] and len(cluster.worker_nodes) == 2
    with pytest.raises(TypeError, match="num_cpu'"):
        cluster.add_node(num_cpu=1)


def test_little_work_stays_here_and_much_is_spread(cluster: Cluster) -> None:
    home = cluster.nodes[0].node_id
    assert ray.get([where.remote(0.3) for _ in range(2)], timeout=30) == [home] * 2
    counts = Counter(ray.get([where.remote(1.0) for _ in range(8)], timeout=60))
    assert counts == {node.node_id: node.options["num_cpus"] for node in cluster.nodes}


def test_labels_and_their_fallbacks(cluster: Cluster) -> None:
    _, b, c = (node.node_id for node in cluster.nodes)
    on_c = where.options(label_selector={"zone": "c"})
    assert ray.get(on_c.remote(), timeout=30) == c
    not_a = where.options(label_selector={"zone": "!a"}, scheduling_strategy="SPREAD")
    assert set(ray.get([not_a.remote(0.3) for _ in range(4)], timeout=30)) == {b, c}
    rather = where.options(
        label_selector={"zone": "nowhere"}, fallback_strategy=[{"label_selector": {"zone": "b"}}]
    )
    assert ray.get(rather.remote(), timeout=30) == b


def test_a_busy_node_is_waited_for_or_not(cluster: Cluster) -> None:
    b = cluster.nodes[1].node_id
    busy = [where.options(label_selector={"zone": "b"}).remote(2.0) for _ in range(2)]
    time.sleep(0.5)
    spill = NodeAffinitySchedulingStrategy(b, soft=True, _spill_on_unavailable=True)
    assert ray.get(where.options(scheduling_strategy=spill).remote(), timeout=30) != b
    fail = NodeAffinitySchedulingStrategy(b, soft=False, _fail_on_unavailable=True)
    with pytest.raises(TaskUnschedulableError, match="no room"):
        ray.get(where.options(scheduling_strategy=fail).remote(), timeout=30)
    soft = NodeAffinitySchedulingStrategy(b, soft=True)
    assert ray.get(where.options(scheduling_strategy=soft).remote(), timeout=30) == b
    assert ray.get(busy, timeout=30) == [b] * 2
    assert ray.get(where.options(scheduling_strategy=fail).remote(), timeout=30) == b


def test_bundles_have_nodes_with_their_labels(cluster: Cluster) -> None:
    _, b, c = (node.node_id for node in cluster.nodes)
    group = placement_group(
        [{"CPU": 1}] * 3, "PACK", bundle_label_selector=[{"zone": "c"}, {}, {"zone": "in(b)"}]
    )
    assert group.wait(30)
    nodes = placement_group_table(group)["bundles_to_node_id"]
    assert (nodes[0], nodes[2]) == (c, b)
    remove_placement_group(group)


def test_a_group_moves_when_a_node_dies_with_its_actors_and_tasks(
    cluster: Cluster, tmp_path: Path
) -> None:
    lost = cluster.add_node(num_cpus=2, resources={"fast": 1})
    group = placement_group([{"CPU": 1}, {"CPU": 1, "fast": 1}], "STRICT_SPREAD")
    assert group.wait(30)
    inside = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=1)

    @ray.remote(num_cpus=0.5, max_restarts=1, max_task_retries=-1, scheduling_strategy=inside)
    class Actor:
        def node(self) -> str:
            return ray.get_runtime_context().get_node_id()

    actor = Actor.remote()
    assert ray.get(actor.node.remote(), timeout=30) == lost.node_id

    @ray.remote(num_cpus=0.5, max_retries=3, scheduling_strategy=inside)
    def task() -> str:
        if not (tmp_path / "began").exists():
            (tmp_path / "began").touch()
            time.sleep(60)
        return ray.get_runtime_context().get_node_id()

    ref = task.remote()
    wait_for_condition((tmp_path / "began").exists, timeout=30)
    cluster.remove_node(lost, allow_graceful=False)
    wait_for_condition(lambda: state(group) == "RESCHEDULING", timeout=30)
    new = cluster.add_node(num_cpus=1, resources={"fast": 1})
    wait_for_condition(lambda: state(group) == "CREATED", timeout=30)
    assert ray.get([ref, actor.node.remote()], timeout=60) == [new.node_id] * 2
    assert placement_group_table(group)["bundles_to_node_id"][1] == new.node_id
    remove_placement_group(group)


def state(group: Any) -> str:
    found: str = placement_group_table(group)["state"]
    return found
