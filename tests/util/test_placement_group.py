"""Placement groups as programs use them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ray_on_dask import exceptions
from ray_on_dask.util import placement_group as bound_function
from ray_on_dask.util.placement_group import (
    PlacementGroup,
    get_current_placement_group,
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from ray_on_dask.util.scheduling_strategies import PlacementGroupSchedulingStrategy as InGroup


@pytest.fixture(scope="module")
def ray(ray_session: Callable[..., Any]) -> Any:
    return ray_session(num_cpus=4, namespace="groups")


@pytest.fixture
def make(ray: Any) -> Iterator[Callable[..., PlacementGroup]]:
    """Make a group; after the test it is removed, and all CPUs are free again."""
    made: list[PlacementGroup] = []

    def make(*args: Any, **options: Any) -> PlacementGroup:
        made.append(placement_group(*args, **options))
        return made[-1]

    yield make
    for group in made:
        remove_placement_group(group)
    eventually(lambda: ray.available_resources().get("CPU") == 4)
    assert not [name for name in ray.available_resources() if "_group_" in name]


def eventually(condition: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "not true in time"
        time.sleep(0.02)


def where(ray: Any) -> Callable[[], tuple[Any, ...]]:
    def where() -> tuple[Any, ...]:
        context = ray.get_runtime_context()
        captures = context.should_capture_child_tasks_in_placement_group
        return context.get_placement_group_id(), context.get_assigned_resources(), captures

    return where


def sleeper() -> Callable[[str], int]:
    def wait_for(path: str) -> int:
        import os
        import time

        with open(f"{path}.begun", "w"):
            pass
        while not os.path.exists(path):
            time.sleep(0.01)
        return os.getpid()

    return wait_for


# -- making ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bundles", [[], [{}], [{"CPU": 0}], {"CPU": 1}, [{"CPU": "x"}], [3], [{"CPU": -1}]]
)
def test_bundles_that_cannot_be_are_refused(ray: Any, bundles: Any) -> None:
    with pytest.raises(ValueError, match="undle"):
        placement_group(bundles)


@pytest.mark.parametrize(
    "wrong", [{"strategy": "X"}, {"lifetime": "x"}, {"_soft_target_node_id": "z"}]
)
def test_other_arguments_that_cannot_be_are_refused(ray: Any, wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"X|x|STRICT_PACK"):
        placement_group([{"CPU": 1}], **wrong)  # type: ignore[arg-type]


def test_a_group_is_ready_when_its_bundles_are_reserved(ray: Any, make: Any) -> None:
    group = make([{"CPU": 1}, {"CPU": 2}])
    assert ray.get(group.ready(), timeout=10) == group
    assert group.wait(10)
    assert ray.available_resources()["CPU"] == 1
    assert ray.cluster_resources()["CPU"] == 4
    assert ray.available_resources()[f"CPU_group_{group.id.hex()}"] == 3
    assert ray.available_resources()[f"CPU_group_1_{group.id.hex()}"] == 2
    assert ray.available_resources()[f"bundle_group_{group.id.hex()}"] == 2000


def test_ready_can_be_passed_to_a_task(ray: Any, make: Any) -> None:
    """The ref is pending when it is sent, and is resolved by its owner later."""
    first = make([{"CPU": 4}])
    assert first.wait(10)
    second = make([{"CPU": 1}])

    @ray.remote(num_cpus=0)
    def name(group: Any) -> str:
        return str(group.id.hex())

    ref = name.remote(second.ready())
    assert ray.wait([ref], timeout=0.2) == ([], [ref])
    remove_placement_group(first)
    assert ray.get(ref, timeout=10) == second.id.hex()


def test_a_group_knows_its_bundles(ray: Any, make: Any) -> None:
    group = make([{"CPU": 1, "GPU": 0}, {"CPU": 2}])
    assert group.bundle_specs == [{"CPU": 1.0, "GPU": 0.0}, {"CPU": 2.0}]
    assert (group.bundle_count, group.is_empty) == (2, False)
    assert PlacementGroup.empty().is_empty


def test_a_group_that_fits_nowhere_is_not_ready(ray: Any, make: Any) -> None:
    group = make([{"CPU": 100}])
    assert group.wait(0.2) is False
    with pytest.raises(exceptions.GetTimeoutError):
        ray.get(group.ready(), timeout=0.2)
    assert placement_group_table(group)["state"] == "PENDING"


def test_the_function_is_found_in_util_too() -> None:
    assert bound_function is placement_group


# -- looking them up -------------------------------------------------------------------


def test_a_named_group_is_found_by_its_name(ray: Any, make: Any) -> None:
    group = make([{"CPU": 1}], name="mine")
    assert get_placement_group("mine") == group
    assert get_placement_group("mine").bundle_specs == [{"CPU": 1.0}]
    with pytest.raises(exceptions.RaySystemError, match="already exists"):
        placement_group([{"CPU": 1}], name="mine")
    remove_placement_group(group)
    with pytest.raises(ValueError, match="mine"):
        get_placement_group("mine")
    with pytest.raises(ValueError, match="non-empty"):
        get_placement_group("")


def test_the_table_tells_states(ray: Any, make: Any) -> None:
    group = make([{"CPU": 1}], strategy="SPREAD", name="in table")
    assert group.wait(10)
    facts = placement_group_table(group)
    assert facts["placement_group_id"] == group.id.hex()
    assert (facts["name"], facts["strategy"], facts["state"]) == ("in table", "SPREAD", "CREATED")
    assert facts["bundles"] == {0: {"CPU": 1.0}}
    assert facts["bundles_to_node_id"] == {0: ray.nodes()[0]["NodeID"]}
    assert group.id.hex() in placement_group_table()
    remove_placement_group(group)
    assert placement_group_table(group)["state"] == "REMOVED"


# -- in a group ------------------------------------------------------------------------


def test_a_task_runs_in_its_group(ray: Any, make: Any) -> None:
    group = make([{"CPU": 1}, {"CPU": 2}])
    task = ray.remote(where(ray))
    in_any = task.options(scheduling_strategy=InGroup(group))
    assert ray.get(in_any.remote(), timeout=20) == (group.id.hex(), {"CPU": 1.0}, False)
    in_second = task.options(num_cpus=2, scheduling_strategy=InGroup(group, 1, True))
    assert ray.get(in_second.remote(), timeout=20) == (group.id.hex(), {"CPU": 2.0}, True)
    empty = task.options(num_cpus=0, placement_group=group)
    assert ray.get(empty.remote(), timeout=20) == (group.id.hex(), {}, False)


def test_a_group_is_full_when_its_bundles_are(ray: Any, make: Any, tmp_path: Any) -> None:
    group = make([{"CPU": 1}])
    task = ray.remote(sleeper()).options(scheduling_strategy=InGroup(group))
    path = str(tmp_path / "gate")
    refs = [task.remote(path), task.remote(path)]
    assert ray.wait(refs, timeout=0.5) == ([], refs)
    running = f"CPU_group_{group.id.hex()}"
    assert running not in ray.available_resources()
    open(path, "w").close()
    assert len(ray.get(refs, timeout=20)) == 2


@pytest.mark.parametrize(("options", "index"), [({}, 2), ({}, -2), ({"num_cpus": 3}, -1),
                                                ({"num_gpus": 1}, 0)])  # fmt: skip
def test_what_fits_into_no_bundle_is_refused(
    ray: Any, make: Any, options: dict[str, Any], index: int
) -> None:
    group = make([{"CPU": 1}, {"CPU": 2}])
    task = ray.remote(where(ray)).options(scheduling_strategy=InGroup(group, index), **options)
    with pytest.raises(ValueError, match="bundle"):
        task.remote()


def test_an_actor_lives_in_its_group(ray: Any, make: Any) -> None:
    group = make([{"CPU": 2}])

    @ray.remote
    class Actor:
        def where(self) -> Any:
            context = ray.get_runtime_context()
            return context.get_placement_group_id(), context.get_assigned_resources()

        def group(self) -> Any:
            return get_current_placement_group()

    small = Actor.options(scheduling_strategy=InGroup(group)).remote()
    large = Actor.options(num_cpus=2, scheduling_strategy=InGroup(group, 0)).remote()
    assert ray.get(small.where.remote(), timeout=20) == (group.id.hex(), {})
    assert ray.get(large.where.remote(), timeout=20) == (group.id.hex(), {"CPU": 2.0})
    assert ray.get(large.group.remote(), timeout=20) == group
    assert get_current_placement_group() is None


def children(ray: Any) -> Callable[[], list[Any]]:
    def child() -> Any:
        return ray.get_runtime_context().get_placement_group_id()

    remote = ray.remote(child)

    def children() -> list[Any]:
        kinds = [{}, {"placement_group": None}, {"scheduling_strategy": "DEFAULT"}]
        return list(ray.get([remote.options(num_cpus=0.5, **kind).remote() for kind in kinds]))

    return children


def test_children_are_in_the_group_only_if_it_captures_them(ray: Any, make: Any) -> None:
    group = make([{"CPU": 1}])
    parent = ray.remote(num_cpus=0)(children(ray))
    captured = parent.options(scheduling_strategy=InGroup(group, -1, True)).remote()
    assert ray.get(captured, timeout=20) == [group.id.hex(), None, None]
    free = parent.options(scheduling_strategy=InGroup(group)).remote()
    assert ray.get(free, timeout=20) == [None, None, None]


def test_an_actor_captures_its_children(ray: Any, make: Any) -> None:
    group = make([{"CPU": 1}])
    run = children(ray)

    @ray.remote(num_cpus=0)
    class Parent:
        def children(self) -> Any:
            return run()

    parent = Parent.options(scheduling_strategy=InGroup(group, -1, True)).remote()
    assert ray.get(parent.children.remote(), timeout=20) == [group.id.hex(), None, None]


def test_a_blocked_parent_lends_the_groups_cpu_to_its_child(ray: Any, make: Any) -> None:
    """Both take the whole of the one bundle: without lending, the parent waits for ever."""
    group = make([{"CPU": 1}])

    @ray.remote
    def child() -> Any:
        return ray.get_runtime_context().get_placement_group_id()

    @ray.remote
    def parent() -> Any:
        return ray.get(child.remote())

    ref = parent.options(scheduling_strategy=InGroup(group, -1, True)).remote()
    assert ray.get(ref, timeout=20) == group.id.hex()


# -- removing --------------------------------------------------------------------------


def test_removal_ends_what_is_in_the_group(ray: Any, make: Any, tmp_path: Any) -> None:
    group = make([{"CPU": 1}, {"CPU": 2}])

    @ray.remote
    class Actor:
        def pid(self) -> int:
            return os.getpid()

    task = ray.remote(scheduling_strategy=InGroup(group, 1), num_cpus=2)(sleeper())
    cls = Actor.options(num_cpus=1, scheduling_strategy=InGroup(group, 0))
    actor, waiting_actor = cls.remote(), None
    ray.get(actor.pid.remote(), timeout=20)
    waiting_actor = cls.remote()
    call = waiting_actor.pid.remote()
    path = str(tmp_path / "never")
    running = task.options(max_retries=0).remote(path)
    eventually(lambda: os.path.exists(f"{path}.begun"))
    pending = task.remote(path)
    remove_placement_group(group)
    with pytest.raises(exceptions.TaskPlacementGroupRemoved):
        ray.get(pending, timeout=20)
    with pytest.raises(exceptions.WorkerCrashedError):
        ray.get(running, timeout=20)
    with pytest.raises(exceptions.ActorDiedError, match="placement group"):
        ray.get(actor.pid.remote(), timeout=20)
    with pytest.raises(exceptions.ActorUnschedulableError, match="placement group"):
        ray.get(call, timeout=20)


def test_a_removed_group_takes_nothing_more(ray: Any, make: Any) -> None:
    group = make([{"CPU": 1}])
    remove_placement_group(group)
    remove_placement_group(group)
    with pytest.raises(RuntimeError, match="does not exist"):
        group.wait(5)
    with pytest.raises(exceptions.TaskPlacementGroupRemoved):
        ray.get(group.ready(), timeout=10)
    task = ray.remote(where(ray)).options(scheduling_strategy=InGroup(group))
    with pytest.raises(exceptions.TaskPlacementGroupRemoved):
        ray.get(task.remote(), timeout=10)


def test_a_group_gets_room_from_a_stream_of_tasks(ray: Any, make: Any) -> None:
    """Leases of a stream of short tasks never end by themselves while more are queued."""

    @ray.remote
    def short() -> None:
        time.sleep(0.01)

    refs = [short.remote() for _ in range(1500)]
    group = make([{"CPU": 2}, {"CPU": 2}])
    assert group.wait(10)
    remove_placement_group(group)
    for ref in refs:
        ray.cancel(ref)


# -- who has handles -------------------------------------------------------------------


def test_a_handle_works_in_a_task(ray: Any, make: Any) -> None:
    group = make([{"CPU": 1}])
    run = where(ray)

    @ray.remote
    def use(group: Any) -> Any:
        task = ray.remote(run).options(scheduling_strategy=InGroup(group))
        return group.wait(10), ray.get(task.remote())[0]

    assert ray.get(use.remote(group), timeout=20) == (True, group.id.hex())


def test_a_group_made_by_a_task_outlives_it(ray: Any, make: Any) -> None:
    @ray.remote
    def other() -> Any:
        group = placement_group([{"CPU": 1}])
        assert group.wait(10)
        return group

    group = ray.get(other.remote(), timeout=20)
    assert placement_group_table(group)["state"] == "CREATED"
    remove_placement_group(group)


def test_equal_handles_are_equal(ray: Any, make: Any) -> None:
    group = make([{"CPU": 1}])
    assert PlacementGroup(group.id) == group
    assert hash(PlacementGroup(group.id)) == hash(group)
    assert PlacementGroup(group.id).bundle_specs == [{"CPU": 1.0}]
