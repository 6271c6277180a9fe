"""Clusters that grow and shrink with what is to be done, and scheduler and nodes that end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from multiprocessing.resource_tracker import ensure_running
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ray_on_dask as ray
from ray_on_dask.autoscaler.sdk import request_resources
from ray_on_dask.test_utils import wait_for_condition

ensure_running()  # Python's own helper of Dask's local clusters, which outlives them
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(120)]


def local_cluster(workers: int, **options: Any) -> Any:
    """Dask's own local cluster of processes."""
    from distributed import LocalCluster

    return LocalCluster(
        n_workers=workers, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0",
        host="127.0.0.1", memory_limit=0, **options,
    )  # fmt: skip


@pytest.fixture
def cluster() -> Iterator[Any]:
    """One that adapts, without any worker yet."""
    with local_cluster(0) as cluster:
        cluster.adapt(minimum=0, maximum=3, interval="100ms", wait_count=3)
        yield cluster
        ray.shutdown()


def workers(cluster: Any) -> int:
    return len(cluster.scheduler.workers)


def test_a_cluster_grows_from_nothing_and_shrinks_to_nothing(cluster: Any, tmp_path: Path) -> None:
    ray.init(cluster)
    assert workers(cluster) == 1, "the one that the driver hangs on"
    go = tmp_path / "go"

    @ray.remote
    def hold(i: int) -> int:
        while not go.exists():
            time.sleep(0.02)
        return i

    refs = [hold.remote(i) for i in range(6)]
    wait_for_condition(lambda: workers(cluster) == 3, timeout=40)

    @ray.remote(num_cpus=0, resources=None)
    class Actor:
        def node(self) -> str:
            return ray.get_runtime_context().get_node_id()

    actor = Actor.remote()
    where = ray.get(actor.node.remote(), timeout=30)
    go.touch()
    assert ray.get(refs, timeout=40) == list(range(6))
    home = ray.get_runtime_context().get_node_id()
    wait_for_condition(lambda: workers(cluster) == len({where, home}), timeout=30)
    assert ray.get(actor.node.remote(), timeout=30) == where, "a busy node is not taken away"
    ray.shutdown()
    wait_for_condition(lambda: workers(cluster) == 0, timeout=30)


def test_a_request_makes_room_in_advance_and_keeps_it(cluster: Any) -> None:
    ray.init(cluster)
    request_resources(num_cpus=2)
    wait_for_condition(lambda: ray.cluster_resources().get("CPU") == 2, timeout=40)
    request_resources(bundles=[{"CPU": 1}] * 3)
    wait_for_condition(lambda: ray.cluster_resources().get("CPU") == 3, timeout=40)
    request_resources()
    wait_for_condition(lambda: workers(cluster) == 1, timeout=30)


def test_a_node_that_is_retired_finishes_its_tasks_and_its_actors_move(tmp_path: Path) -> None:
    from distributed import Client

    with local_cluster(2) as cluster, Client(cluster, set_as_default=False) as client:
        ray.init(cluster)
        wait_for_condition(lambda: ray.cluster_resources().get("CPU") == 2, timeout=20)
        home = ray.get_runtime_context().get_node_id()
        (other,) = {node["NodeID"] for node in ray.nodes()} - {home}
        there = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(other, soft=True)

        @ray.remote(max_restarts=1, max_task_retries=-1, num_cpus=0, scheduling_strategy=there)
        class Actor:
            def node(self) -> str:
                return ray.get_runtime_context().get_node_id()

        actor = Actor.remote()
        assert ray.get(actor.node.remote(), timeout=30) == other

        @ray.remote(max_retries=0, scheduling_strategy=there)
        def run(i: int) -> str:
            if not i:
                (tmp_path / "runs").touch()
                while not (tmp_path / "go").exists():
                    time.sleep(0.02)
            return ray.get_runtime_context().get_node_id()

        refs = [run.remote(i) for i in range(5)]
        wait_for_condition((tmp_path / "runs").exists, timeout=20)
        control = cluster.scheduler.extensions["ray_on_dask"]
        leaving = [control.addresses[other]]
        retiring = threading.Thread(target=client.retire_workers, args=(leaving,))
        retiring.start()
        wait_for_condition(lambda: control.store.leases.nodes[other].draining, timeout=20)
        assert ray.get(refs[1:], timeout=30) == [home] * 4, "they begin elsewhere at once"
        (tmp_path / "go").touch()
        retiring.join(30)
        nodes = ray.get(refs, timeout=30)
        assert nodes == [other] + [home] * 4, "it finishes what runs, and begins nothing"
        assert ray.get(actor.node.remote(), timeout=30) == home
        assert [x["NodeID"] for x in ray.nodes() if x["Alive"]] == [home]
        ray.shutdown()


def test_objects_of_a_node_that_is_retired_are_with_others_however_young_they_are() -> None:
    """Dask moves the keys there are; objects become keys when they have lived for a moment."""
    from distributed import Client

    with local_cluster(2) as cluster, Client(cluster, set_as_default=False) as client:
        ray.init(cluster)
        wait_for_condition(lambda: ray.cluster_resources().get("CPU") == 2, timeout=20)
        home = ray.get_runtime_context().get_node_id()
        (other,) = {node["NodeID"] for node in ray.nodes()} - {home}
        there = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(other, soft=False)

        @ray.remote(max_retries=0, num_cpus=0, scheduling_strategy=there)
        def make(i: int) -> Any:
            return np.full(300_000, i)

        @ray.remote(num_cpus=0, scheduling_strategy=there)
        class Owner:
            def put(self) -> list[Any]:
                self.refs = [ray.put(np.full(100_000, i)) for i in range(10)]
                return self.refs

        control = cluster.scheduler.extensions["ray_on_dask"]
        leaving = [control.addresses[other]]
        owner = Owner.remote()
        put = ray.get(owner.put.remote(), timeout=30)
        refs = [make.remote(i) for i in range(20)]
        assert ray.wait(refs, num_returns=20, timeout=30.0)[0] == refs
        assert client.retire_workers(leaving)
        assert [int(ray.get(ref, timeout=30)[0]) for ref in refs] == list(range(20))
        assert [int(ray.get(ref, timeout=30)[0]) for ref in put] == list(range(10))
        ray.shutdown()


def test_a_node_that_is_retired_waits_for_its_drivers_to_leave_and_then_ends_their_session(
    capfd: pytest.CaptureFixture[str],
) -> None:
    from distributed import Client

    with local_cluster(3) as cluster, Client(cluster, set_as_default=False) as client:
        control = cluster.scheduler.extensions.get

        def begin_to_retire() -> tuple[str, threading.Thread]:
            ray.init(cluster)
            wait_for_condition(lambda: ray.cluster_resources().get("CPU") >= 2, timeout=20)
            home = str(ray.get_runtime_context().get_node_id())
            leaving = [control("ray_on_dask").addresses[home]]
            retiring = threading.Thread(target=client.retire_workers, args=(leaving,))
            retiring.start()
            told = lambda: "about to be retired" in capfd.readouterr().err  # noqa: E731
            wait_for_condition(told, timeout=20)
            return home, retiring

        @ray.remote
        def node(value: Any) -> str:
            return str(ray.get_runtime_context().get_node_id())

        left, retiring = begin_to_retire()
        assert ray.get(node.remote(ray.put(np.ones(300_000))), timeout=30) != left
        assert retiring.is_alive(), "it waits for its driver"
        ray.shutdown()
        retiring.join(20)
        assert not retiring.is_alive()

        control("ray_on_dask").elastic.drain_timeout = 0.5
        left, retiring = begin_to_retire()
        retiring.join(20)
        with pytest.raises(ray.exceptions.LocalRayletDiedError, match=r"was retired.*`init`"):
            for _ in range(1000):
                ray.get(node.remote(0), timeout=30)
                time.sleep(0.02)
        ray.shutdown()
        ray.init(cluster)
        assert ray.get_runtime_context().get_node_id() != left
        assert ray.get(node.remote(0), timeout=30) != left
        ray.shutdown()
