"""Listings of what there is in a cluster."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from ray_on_dask.util import state
from ray_on_dask.util.placement_group import placement_group, remove_placement_group


@pytest.fixture(scope="module")
def ray(ray_session: Callable[..., Any]) -> Any:
    return ray_session(num_cpus=2, namespace="listed")


def eventually(get: Callable[[], Any], seconds: float = 10.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := get()):
        assert time.monotonic() < deadline, "not there in time"
        time.sleep(0.05)
    return found


def test_nodes_are_listed(ray: Any) -> None:
    (node,) = state.list_nodes()
    assert (node.node_id, node.state) == (ray.nodes()[0]["NodeID"], "ALIVE")
    assert node["resources_total"]["CPU"] == 2
    assert abs(node.start_time_ms / 1000 - time.time()) < 100
    assert state.get_node(node.node_id) == node
    assert state.get_node("00") is None


def test_actors_are_listed_living_and_dead(ray: Any) -> None:
    @ray.remote
    class Listed:
        def ping(self) -> None:
            pass

    actor = Listed.options(name="one").remote()
    ray.get(actor.ping.remote(), timeout=20)
    (found,) = state.list_actors(filters=[("class_name", "=", "Listed"), ("state", "=", "ALIVE")])
    assert (found.name, found.ray_namespace, found.num_restarts) == ("one", "listed", 0)
    ray.kill(actor)
    eventually(lambda: state.get_actor(found.actor_id).state == "DEAD")
    assert "Listed" in state.summarize_actors()["cluster"]["summary"]


def test_tasks_that_have_ended_are_listed(ray: Any) -> None:
    @ray.remote
    def listed_task() -> None:
        pass

    @ray.remote(max_retries=0)
    def failing_task() -> None:
        raise ValueError("on purpose")

    ray.get(listed_task.remote(), timeout=20)
    with pytest.raises(ValueError, match="on purpose"):
        ray.get(failing_task.remote(), timeout=20)
    (good,) = eventually(lambda: state.list_tasks(filters=[("name", "=", "listed_task")]))
    assert (good.state, good.node_id) == ("FINISHED", ray.nodes()[0]["NodeID"])
    assert state.get_task(good.task_id) == good
    (bad,) = eventually(lambda: state.list_tasks(filters=[("name", "=", "failing_task")]))
    assert bad.state == "FAILED"
    summary = state.summarize_tasks()["cluster"]["summary"]
    assert summary["listed_task"]["state_counts"] == {"FINISHED": 1}


def test_jobs_and_workers_are_listed(ray: Any) -> None:
    (job,) = state.list_jobs()
    assert (job.job_id, job.status) == (ray.get_runtime_context().get_job_id(), "RUNNING")
    (driver,) = state.list_workers(filters=[("worker_type", "=", "driver")])
    assert driver.worker_id == ray.get_runtime_context().get_worker_id()
    assert state.get_worker(driver.worker_id) == driver


def test_placement_groups_are_listed(ray: Any) -> None:
    group = placement_group([{"CPU": 1}], name="listed")
    assert group.wait(10)
    found = state.get_placement_group(group.id.hex())
    assert found is not None
    assert (found.name, found.state) == ("listed", "CREATED")
    assert found.bundles[0]["unit_resources"] == {"CPU": 1.0}
    remove_placement_group(group)


def test_objects_that_others_know_are_listed(ray: Any) -> None:
    ref = ray.put(b"x" * 1000)
    size = ray.remote(lambda refs: len(refs))
    assert ray.get(size.remote([ref]), timeout=20) == 1
    found = eventually(lambda: state.get_objects(ref.hex()))
    assert found[0].object_size >= 1000
    assert state.summarize_objects()["cluster"]["total_objects"] >= 1


def test_filters_compare(ray: Any) -> None:
    assert state.list_nodes(filters=[("start_time_ms", ">", "1000")])
    assert state.list_nodes(filters=[("is_head_node", "!=", "maybe")])
    assert not state.list_nodes(filters=[("state", "!=", "alive")])


@pytest.mark.parametrize("wrong", [{"filters": [("bogus", "=", 1)]}, {"limit": 0},
                                   {"filters": [("state", "~", 1)]}])  # fmt: skip
def test_filters_that_cannot_be_are_refused(ray: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"bogus|~|limit"):
        state.list_nodes(**wrong)
