"""Resources: what a task gets, what stays free, what has to wait."""

from __future__ import annotations

import os
from typing import Any

import pytest
from conformance_module import eventually, exceptions, ray

CLUSTER = {"num_gpus": 2, "resources": {"Spice": 2, "Custom": 1}}
pytestmark = pytest.mark.usefixtures("cluster")


def free(name: str) -> float:
    """How much of `name` is available now."""
    return ray.available_resources().get(name, 0.0)


@pytest.fixture(autouse=True)
def all_free() -> None:
    """Begin each test with what the one before it used given back."""
    expected = {"CPU": 4.0, "GPU": 2.0, "Spice": 2.0, "Custom": 1.0}
    eventually(lambda: {name: free(name) for name in expected} == expected)


@pytest.fixture
def assigned() -> Any:
    """A remote function that tells what it holds."""

    @ray.remote
    def assigned() -> dict[str, float]:
        return ray.get_runtime_context().get_assigned_resources()

    return assigned


def test_cluster_and_node_tell_the_totals() -> None:
    totals = ray.cluster_resources()
    assert (totals["CPU"], totals["GPU"], totals["Spice"]) == (4.0, 2.0, 2.0)
    assert totals["memory"] > 0
    assert totals["object_store_memory"] > 0
    (node,) = ray.nodes()
    assert node["Alive"] is node["alive"] is True
    assert node["Resources"]["CPU"] == 4.0
    assert f"node:{node['NodeManagerAddress']}" in node["Resources"]
    assert node["NodeID"] == ray.get_runtime_context().get_node_id()


def test_a_task_is_assigned_what_it_asked_for(assigned: Any) -> None:
    assert ray.get(assigned.remote()) == {"CPU": 1.0}
    demand: dict[str, Any] = {"num_cpus": 0.5, "num_gpus": 1, "resources": {"Spice": 0.25}}
    assert ray.get(assigned.options(**demand).remote()) == {"CPU": 0.5, "GPU": 1.0, "Spice": 0.25}
    assert ray.get(assigned.options(num_cpus=0).remote()) == {}


def test_quantities_have_four_decimals(assigned: Any) -> None:
    assert ray.get(assigned.options(num_cpus=1.00015).remote()) == {"CPU": 1.0001}
    with pytest.raises(ValueError):
        assigned.options(num_cpus=0.00001).remote()


def test_used_up_resources_are_absent_and_come_back(gate: Any) -> None:
    @ray.remote(resources={"Spice": 2}, num_cpus=3)
    def use() -> None:
        gate.wait()

    ref = use.remote()
    eventually(lambda: "Spice" not in ray.available_resources())
    assert free("CPU") == 1.0
    gate.open()
    ray.get(ref)
    eventually(lambda: free("Spice") == 2.0)


def test_no_more_tasks_run_at_once_than_resources_allow(gate: Any, journal: Any) -> None:
    @ray.remote(num_cpus=0, resources={"Spice": 1})
    def use() -> None:
        journal.write("in")
        gate.wait()

    refs = [use.remote() for _ in range(5)]
    eventually(lambda: len(journal.read()) == 2)
    assert ray.wait(refs, timeout=0.3)[0] == []
    assert len(journal.read()) == 2
    gate.open()
    ray.get(refs)
    assert len(journal.read()) == 5


def test_an_infeasible_task_waits(assigned: Any) -> None:
    for demand in ({"num_cpus": 100}, {"resources": {"Unheard": 1}}):
        ref = assigned.options(**demand).remote()
        with pytest.raises(exceptions.GetTimeoutError):
            ray.get(ref, timeout=0.3)
        ray.cancel(ref)


def test_gpu_ids_are_dealt_out_and_shared_by_halves(gate: Any, journal: Any) -> None:
    @ray.remote(num_gpus=0.5)
    def gpus() -> tuple[list[int], str]:
        journal.write("in")
        gate.wait()
        return ray.get_gpu_ids(), os.environ["CUDA_VISIBLE_DEVICES"]

    refs = [gpus.remote() for _ in range(4)]
    eventually(lambda: len(journal.read()) == 4)
    gate.open()
    found = sorted(ray.get(refs))
    assert [[int(i) for i in ids] for ids, _ in found] == [[0], [0], [1], [1]]
    assert [visible for _, visible in found] == ["0", "0", "1", "1"]


def test_whole_gpus_are_not_shared(assigned: Any) -> None:
    @ray.remote(num_gpus=2)
    def gpus() -> list[int]:
        return sorted(int(i) for i in ray.get_gpu_ids())

    assert ray.get(gpus.remote()) == [0, 1]
    with pytest.raises(ValueError):
        gpus.options(num_gpus=1.5).remote()


def test_no_gpu_ids_without_gpu_demand() -> None:
    @ray.remote
    def gpus() -> tuple[list[int], dict[str, list[str]]]:
        return ray.get_gpu_ids(), ray.get_runtime_context().get_accelerator_ids()

    ids, accelerators = ray.get(gpus.remote())
    assert ids == []
    assert accelerators["GPU"] == []
    assert ray.get_gpu_ids() == []


def test_gpu_tasks_end_their_process_by_default() -> None:
    @ray.remote(num_gpus=1)
    def pid() -> int:
        return os.getpid()

    pids = [ray.get(pid.remote()) for _ in range(2)]
    assert len(set(pids)) == 2


def test_a_blocked_task_frees_its_cpu_but_not_its_gpu(gate: Any) -> None:
    @ray.remote
    def inner() -> None:
        gate.wait()

    @ray.remote(num_gpus=1, resources={"Custom": 1})
    def outer(refs: list[Any]) -> None:
        ray.get(refs[0])

    blocked_on = inner.options(num_cpus=0).remote()
    ref = outer.remote([blocked_on])
    eventually(lambda: free("GPU") == 1.0)
    eventually(lambda: free("CPU") == 4.0)
    assert free("GPU") == 1.0
    assert free("Custom") == 0.0
    gate.open()
    ray.get(ref)


def test_gets_nested_deeper_than_there_are_cpus_finish() -> None:
    @ray.remote
    def dive(depth: int) -> int:
        return 0 if depth == 0 else 1 + ray.get(dive.remote(depth - 1))

    assert ray.get(dive.remote(7)) == 7


def test_waiting_in_a_task_frees_its_cpu_too() -> None:
    @ray.remote(num_cpus=4)
    def outer() -> int:
        ready, _ = ray.wait([inner.remote()], timeout=60.0)
        return len(ready)

    @ray.remote(num_cpus=4)
    def inner() -> None: ...

    assert ray.get(outer.remote()) == 1


def test_an_idle_default_actor_holds_no_cpu_and_starts_on_a_busy_node(gate: Any) -> None:
    @ray.remote
    class Light:
        def assigned(self) -> dict[str, float]:
            return ray.get_runtime_context().get_assigned_resources()

    @ray.remote(num_cpus=4)
    def busy() -> None:
        gate.wait()

    ref = busy.remote()
    eventually(lambda: free("CPU") == 0.0)
    light = Light.remote()
    assert ray.get(light.assigned.remote(), timeout=60) == {}
    gate.open()
    ray.get(ref)
    eventually(lambda: free("CPU") == 4.0)


def test_an_actor_holds_what_it_asked_for_all_its_life() -> None:
    @ray.remote
    class Heavy:
        def assigned(self) -> dict[str, float]:
            return ray.get_runtime_context().get_assigned_resources()

    two = Heavy.options(num_cpus=2).remote()
    assert ray.get(two.assigned.remote()) == {"CPU": 2.0}
    eventually(lambda: free("CPU") == 2.0)
    spiced = Heavy.options(resources={"Spice": 1}).remote()
    assert ray.get(spiced.assigned.remote()) == {"CPU": 1.0, "Spice": 1.0}
    eventually(lambda: (free("CPU"), free("Spice")) == (1.0, 1.0))
    ray.kill(two)
    eventually(lambda: free("CPU") == 3.0)
    del spiced
    eventually(lambda: free("CPU") == 4.0)


def test_an_actor_waits_for_resources_that_others_hold() -> None:
    @ray.remote(resources={"Custom": 1}, num_cpus=0)
    class Only:
        def ping(self) -> str:
            return "pong"

    first, second = Only.remote(), Only.remote()
    assert ray.get(first.ping.remote()) == "pong"
    ref = second.ping.remote()
    assert ray.wait([ref], timeout=0.3)[0] == []
    ray.kill(first)
    assert ray.get(ref) == "pong"


def test_an_accelerator_type_is_a_small_custom_resource(assigned: Any) -> None:
    ref = assigned.options(accelerator_type="Unheard-1000").remote()
    with pytest.raises(exceptions.GetTimeoutError):
        ray.get(ref, timeout=0.3)
    ray.cancel(ref)
