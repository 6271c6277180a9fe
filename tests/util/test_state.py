"""Listings of what there is in a cluster."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from ray_on_dask.util import state
from ray_on_dask.util.placement_group import placement_group, remove_placement_group


@pytest.fixture(scope="module")
def ray(ray_session: Callable[..., Any]) -> Any:
    return ray_session(num_cpus=2, namespace="listed")


def eventually(get: Callable[[], Any], seconds: float = 30.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := get()):
        assert time.monotonic() < deadline, "not there in time"
        time.sleep(0.05)
    return found


def test_nodes_are_listed(ray: Any) -> None:
    (node,) = state.list_nodes(detail=True)
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
    filters = [("class_name", "=", "Listed"), ("state", "=", "ALIVE")]
    (found,) = state.list_actors(filters=filters)
    assert (found.name, found.ray_namespace, found.num_restarts) == ("one", "listed", None)
    full = eventually(
        lambda: [
            x
            for x in state.list_actors(filters=filters, detail=True)
            if x.calls_done and not x.calls_pending
        ]
    )[0]
    assert (full.num_restarts, full.calls_done, full.calls_pending) == (0, 1, 0)
    assert full.death_cause is None and full.is_detached is False
    ray.kill(actor)
    eventually(lambda: state.get_actor(found.actor_id).state == "DEAD")
    assert "Listed" in state.summarize_actors()["cluster"]["summary"]


def test_an_actor_tells_where_it_is_and_how_far(ray: Any, tmp_path: Any) -> None:
    @ray.remote(max_restarts=1, max_task_retries=-1)
    class Followed:
        def pid(self) -> int:
            return os.getpid()

        def wait(self) -> None:
            while not (tmp_path / "go").exists():
                time.sleep(0.01)

    actor = Followed.remote()
    first = ray.get(actor.pid.remote(), timeout=20)
    id = actor._actor_id.hex()
    node = ray.nodes()[0]["NodeID"]
    found = state.get_actor(id)
    assert (found.state, found.class_name, found.name, found.node_id, found.pid) == (
        "ALIVE", "Followed", "", node, first,
    )  # fmt: skip
    calls = [actor.wait.remote() for _ in range(3)]
    eventually(lambda: state.get_actor(id).calls_pending == 2)  # one runs
    (tmp_path / "go").touch()
    ray.get(calls, timeout=20)
    os.kill(first, signal.SIGKILL)
    second = ray.get(actor.pid.remote(), timeout=20)
    full = eventually(lambda: (now := state.get_actor(id)).state == "ALIVE" and now)
    assert (full.num_restarts, full.pid, full.node_id) == (1, second, node)
    os.kill(second, signal.SIGKILL)
    dead = eventually(lambda: (now := state.get_actor(id)).state == "DEAD" and now)
    assert dead.num_restarts == 1
    assert "SIGKILL" in str(dead.death_cause)


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
    full = state.get_task(good.task_id)
    assert full is not None and full.task_id == good.task_id and len(good.task_id) == 48
    assert full.end_time_ms >= full.start_time_ms > 0 and good.start_time_ms is None
    (bad,) = eventually(lambda: state.list_tasks(filters=[("name", "=", "failing_task")]))
    assert (bad.state, bad.error_type) == ("FAILED", "TASK_EXECUTION_EXCEPTION")
    assert "on purpose" in state.get_task(bad.task_id).error_message
    summary = state.summarize_tasks()["cluster"]["summary"]
    assert summary["listed_task"]["state_counts"] == {"FINISHED": 1}
    assert summary["listed_task"]["type"] == "NORMAL_TASK"


def test_tasks_that_run_and_wait_are_listed(ray: Any, tmp_path: Any) -> None:
    gate = str(tmp_path / "gate")

    @ray.remote
    def held(path: str) -> str:
        import os
        import time

        while not os.path.exists(path):
            time.sleep(0.01)
        return ray.get_runtime_context().get_task_id()

    refs = [held.remote(gate), held.remote(gate), held.options(num_cpus=9).remote(gate)]
    dependent = held.remote(refs[0])

    def states() -> Any:
        found = state.list_tasks(filters=[("name", "=", "held")])
        kinds = sorted(task.state for task in found)
        wanted = ["PENDING_ARGS_AVAIL", "PENDING_NODE_ASSIGNMENT", "RUNNING", "RUNNING"]
        return found if kinds == wanted else None

    running = [task for task in eventually(states) if task.state == "RUNNING"]
    assert all(task.worker_pid for task in running)
    with open(gate, "w"):
        ids = ray.get(refs[:2], timeout=20)
    assert sorted(ids) == sorted(task.task_id for task in running)
    ray.cancel(refs[2])
    ray.cancel(dependent)


def test_what_was_printed_is_read_later(ray: Any) -> None:
    @ray.remote
    class Talker:
        def say(self, text: str) -> int:
            import os
            import sys

            print(text)
            print(f"{text} again", file=sys.stderr)
            return os.getpid()

    talker = Talker.remote()
    pid = ray.get(talker.say.remote("first"))
    id = state.list_actors(filters=[("class_name", "=", "Talker")])[0].actor_id
    assert eventually(lambda: state.list_logs(glob_filter=f"*-{pid}.out"))
    assert eventually(lambda: list(state.get_log(pid=pid, suffix="err"))) == ["first again\n"]
    lines = state.get_log(actor_id=id, follow=True, _interval=0.02)
    assert next(lines) == "first\n"
    ray.get(talker.say.remote("second"))
    assert next(lines) == "second\n"
    (name,) = state.list_logs(glob_filter=f"*-{pid}.out")["worker_out"]
    assert list(state.get_log(filename=name, tail=1)) == ["second\n"]
    for wrong in ({}, {"pid": 1}, {"filename": "x"}, {"actor_id": "00"}, {"task_id": "00"}):
        with pytest.raises(state.RayStateApiException):
            list(state.get_log(**wrong))


def test_executors_that_have_died_are_listed(ray: Any) -> None:
    @ray.remote(max_retries=0)
    def dies() -> None:
        import os

        os._exit(3)

    with pytest.raises(Exception, match="exited with code 3"):
        ray.get(dies.remote())
    (gone,) = eventually(
        lambda: [x for x in state.list_workers(detail=True) if x.exit_type == "USER_ERROR"]
    )
    assert (gone.is_alive, gone.exit_detail) == (False, "exited with code 3")
    assert gone.end_time_ms > 0
    events = state.list_cluster_events(filters=[("source_type", "=", "WORKER")])
    assert any(f"process {gone.pid} " in event.message for event in events)


def test_runtime_environments_in_use_are_listed(ray: Any) -> None:
    @ray.remote
    class Set:
        def ping(self) -> None:
            pass

    actor = Set.options(runtime_env={"env_vars": {"LISTED": "1"}}).remote()
    ray.get(actor.ping.remote(), timeout=30)
    found = state.list_runtime_envs(detail=True)
    assert [(x.runtime_env, x.ref_cnt) for x in found] == [({"env_vars": {"LISTED": "1"}}, 1)]


def test_the_client_asks_by_name(ray: Any) -> None:
    client = state.StateApiClient()
    assert client.list("nodes") == state.list_nodes()
    assert client.get("nodes", client.list("nodes")[0].node_id).state == "ALIVE"
    assert client.summary("actors").keys() == {"cluster"}
    with pytest.raises(state.RayStateApiException, match="placement-groups"):
        client.list("clusters")


def test_jobs_and_workers_are_listed(ray: Any) -> None:
    (job,) = state.list_jobs()
    assert (job.job_id, job.status) == (ray.get_runtime_context().get_job_id(), "RUNNING")
    (driver,) = state.list_workers(filters=[("worker_type", "=", "driver")])
    assert driver.worker_id == ray.get_runtime_context().get_worker_id()
    found = state.get_worker(driver.worker_id)
    assert found is not None and (found.pid, found.is_alive) == (driver.pid, True)
    assert job.driver_info["pid"] == str(driver.pid)


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
    assert (found[0].call_site, found[0].reference_type) == ("put", "LOCAL_REFERENCE")
    assert state.summarize_objects()["cluster"]["total_objects"] >= 1


def test_filters_compare(ray: Any) -> None:
    assert state.list_nodes(filters=[("start_time_ms", ">", "1000")])
    assert state.list_nodes(filters=[("is_head_node", "!=", "maybe")])
    assert not state.list_nodes(filters=[("state", "!=", "alive")])


@pytest.mark.parametrize("wrong", [
    {"filters": [("bogus", "=", 1)]}, {"limit": 0}, {"limit": 10_001},
    {"filters": [("state", "~", 1)]}, {"filters": [("labels", "=", 1)]}, {"filters": ["state"]},
])  # fmt: skip
def test_filters_that_cannot_be_are_refused(ray: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(state.RayStateApiException, match=r"bogus|~|limit|labels|a filter is"):
        state.list_nodes(**wrong)


#: Fields without and with ``detail=True`` in Ray 2.60 (`StateSchema.list_columns`).
RAYS = {
    state.ActorState: (
        "actor_id class_name job_id name node_id pid ray_namespace state",
        "call_site death_cause fallback_strategy is_detached label_selector num_restarts "
        "num_restarts_due_to_lineage_reconstruction num_restarts_due_to_node_preemption "
        "placement_group_id repr_name required_resources serialized_runtime_env",
    ),
    state.TaskState: (
        "actor_id attempt_number error_type func_or_class_name job_id name node_id parent_task_id "
        "state task_id type worker_id worker_pid",
        "call_site creation_time_ms end_time_ms error_message events fallback_strategy "
        "is_debugger_paused label_selector language placement_group_id profiling_data "
        "required_resources runtime_env_info start_time_ms task_log_info",
    ),
    state.NodeState: (
        "is_head_node labels node_id node_ip node_name resources_total state state_message",
        "end_time_ms start_time_ms",
    ),
    state.ObjectState: (
        "attempt_number call_site ip object_id object_size pid reference_type task_status type", "",
    ),
    state.WorkerState: (
        "exit_type ip is_alive node_id pid worker_id worker_type",
        "debugger_port end_time_ms exit_detail num_paused_threads start_time_ms "
        "worker_launch_time_ms worker_launched_time_ms",
    ),
    state.PlacementGroupState: (
        "creator_job_id name placement_group_id state",
        "bundles is_detached stats topology_assignments topology_strategy",
    ),
    state.RuntimeEnvState: ("creation_time_ms node_id runtime_env success", "error ref_cnt"),
    state.ClusterEventState: ("event_id message severity source_type time", "custom_fields"),
    state.JobState: (
        "driver_info entrypoint error_type job_id message status submission_id type", "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", RAYS, ids=lambda kind: kind.__name__)
def test_records_have_the_fields_of_rays(kind: Any) -> None:
    plain, details = RAYS[kind]
    assert set(kind.columns(detail=False)) == set(plain.split())
    assert set(details.split()) <= set(kind.columns(detail=True))
