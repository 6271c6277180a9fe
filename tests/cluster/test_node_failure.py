"""Nodes that die, or stop, in the middle of a job: the work moves, and the results are right."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import psutil
import pytest

import ray_on_dask as ray
from ray_on_dask.cluster_utils import Cluster, ClusterNode
from ray_on_dask.exceptions import WorkerCrashedError
from ray_on_dask.runtime.directories import sweep
from ray_on_dask.util import placement_group, remove_placement_group
from ray_on_dask.util.scheduling_strategies import PlacementGroupSchedulingStrategy

pytestmark = pytest.mark.cluster

LIMIT = 5.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DASK_RAY_ON_DASK__NODE_DEATH_TIMEOUT", str(LIMIT))
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
        cluster.connect()
        try:
            yield cluster
        finally:
            cluster.shutdown()


@ray.remote
def square(number: int) -> np.ndarray:
    time.sleep(0.05)
    return np.full(20_000, number * number)


@ray.remote(max_restarts=-1, max_task_retries=-1, num_cpus=0.1)
class Adder:
    def add(self, arrays: list[Any]) -> int:
        return sum(int(array[0]) for array in ray.get(arrays))

    def node(self) -> str:
        return ray.get_runtime_context().get_node_id()


def stop_worker(node: ClusterNode) -> None:
    """Freeze the node's process, and nothing that it has started."""
    node.process.send_signal(signal.SIGSTOP)


def stop_all(node: ClusterNode) -> None:
    """Freeze the node and all its processes, as when a machine stops."""
    processes = [psutil.Process(node.process.pid)]
    processes += processes[0].children(recursive=True)
    for process in processes:
        process.suspend()


def kill(node: ClusterNode) -> None:
    node.process.kill()


@pytest.mark.parametrize("end", [kill, stop_worker, stop_all])
def test_a_job_survives_the_end_of_a_node(
    cluster: Cluster, end: Callable[[ClusterNode], None]
) -> None:
    """Tasks run there, results lie there, an actor lives there, and a placement group does."""
    node = cluster.add_node(num_cpus=2, resources={"there": 1})
    group = placement_group([{"there": 0.01}])
    there = PlacementGroupSchedulingStrategy(group)
    actor = Adder.options(scheduling_strategy=there, num_cpus=0).remote()
    assert ray.get(actor.node.remote(), timeout=60) == node.node_id
    squares = [square.remote(number) for number in range(60)]
    ray.wait(squares, num_returns=20, timeout=60.0)
    began = time.monotonic()
    end(node)
    replacement = cluster.add_node(wait=False, num_cpus=2, resources={"there": 1})
    assert ray.get(actor.add.remote(squares), timeout=90) == sum(n * n for n in range(60))
    assert [int(ray.get(ref, timeout=60)[0]) for ref in squares] == [n * n for n in range(60)]
    assert ray.get(actor.node.remote(), timeout=60) != node.node_id
    assert time.monotonic() - began < 60
    assert not is_alive(node.node_id)
    remove_placement_group(group)
    if end is stop_all:
        wake(node)
    assert node.process.wait(20) is not None, "it did not come back as its old self"
    for gone in (node, replacement):
        cluster.remove_node(gone, allow_graceful=False)


def is_alive(node_id: str) -> bool:
    return next(node["Alive"] for node in ray.nodes() if node["NodeID"] == node_id)


def wake(node: ClusterNode) -> None:
    for process in [psutil.Process(node.process.pid), *psutil.Process(node.process.pid).children()]:
        process.resume()


def test_a_task_that_may_run_once_fails_when_its_node_dies(cluster: Cluster) -> None:
    node = cluster.add_node(num_cpus=1, resources={"once": 1})

    @ray.remote(resources={"once": 1}, max_retries=0)
    def forever(path: str) -> None:
        open(path, "w").close()
        time.sleep(1_000)

    started = f"/tmp/rod-test-{os.getpid()}"
    ref = forever.remote(started)
    while not os.path.exists(started):
        time.sleep(0.01)
    os.unlink(started)
    cluster.remove_node(node, allow_graceful=False)
    with pytest.raises(WorkerCrashedError, match="node died"):
        ray.get(ref, timeout=30)


def test_a_driver_is_told_that_the_scheduler_died() -> None:
    cluster = Cluster(initialize_head=True)
    program = (
        "import sys, ray_on_dask as ray\n"
        "ray.init(sys.argv[1], configure_logging=False)\n"
        "print('joined', flush=True)\n"
        "@ray.remote\n"
        "def forever(): import time; time.sleep(1000)\n"
        "try: ray.get(forever.remote())\n"
        "except ray.exceptions.LocalRayletDiedError as error: print(error)\n"
    )
    driver = subprocess.Popen(
        [os.sys.executable, "-c", program, cluster.address], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(os.sys.path)},
    )  # fmt: skip
    try:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "joined\n"
        node = cluster.nodes[0].process
        cluster._scheduler.kill()
        said, _ = driver.communicate(timeout=40)
        assert "scheduler" in said and "is gone" in said, said
        assert node.wait(20) is not None
    finally:
        driver.kill()
        cluster.shutdown()
        sweep(grace=0.0)  # what a scheduler that was killed has left, as the next one to start does
