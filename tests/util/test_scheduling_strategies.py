"""Strategies: what they check, what the control store gets, where tasks go."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ray_on_dask.exceptions import ActorUnschedulableError, TaskUnschedulableError
from ray_on_dask.ids import NodeID, PlacementGroupID
from ray_on_dask.util.scheduling_strategies import (
    DoesNotExist,
    Exists,
    In,
    NodeAffinitySchedulingStrategy,
    NodeLabelSchedulingStrategy,
    NotIn,
    PlacementGroupSchedulingStrategy,
)

NOWHERE = "ab" * 28


class Group:
    """What a strategy asks of a placement group."""

    id = PlacementGroupID(b"\x07" * 18)
    is_empty = False
    bundle_specs = [{"CPU": 1.0}, {"CPU": 2.0, "R": 1.0}]


@pytest.mark.parametrize("given", ["zz", "ab", "xy" * 28])
def test_a_node_is_named_by_56_hex_digits(given: str) -> None:
    with pytest.raises(ValueError, match="Invalid node_id"):
        NodeAffinitySchedulingStrategy(given, soft=False)


def test_a_node_may_be_given_as_its_id() -> None:
    strategy = NodeAffinitySchedulingStrategy(NodeID.from_hex(NOWHERE), soft=True)  # type: ignore[arg-type]
    assert strategy.node_id == NOWHERE


def test_flags_of_affinity_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ValueError):
        NodeAffinitySchedulingStrategy(NOWHERE, soft=False, _spill_on_unavailable=True)
    with pytest.raises(ValueError):
        NodeAffinitySchedulingStrategy(NOWHERE, soft=True, _fail_on_unavailable=True)


@pytest.mark.parametrize("hard", [{}, None, [1], {"a": 1}, {1: Exists()}])
def test_labels_that_are_none_are_refused(hard: Any) -> None:
    with pytest.raises(ValueError):
        NodeLabelSchedulingStrategy(hard)


def test_operators_want_words() -> None:
    for values in ((), (1,)):
        with pytest.raises(ValueError):
            In(*values)


def test_labels_travel_as_operators_and_values() -> None:
    strategy = NodeLabelSchedulingStrategy(
        {"zone": In("a", "b"), "spot": DoesNotExist()}, soft={"disk": NotIn("slow")}
    )
    text, group, captures = strategy._as_class({"CPU": 1})
    assert json.loads(text) == {
        "hard": {"zone": ["in", ["a", "b"]], "spot": ["absent", []]},
        "soft": {"disk": ["not_in", ["slow"]]},
    }
    assert (group, captures) == (b"", False)


def test_a_group_turns_resources_into_its_own() -> None:
    resources = {"CPU": 10_000}
    strategy = PlacementGroupSchedulingStrategy(Group(), 1, True)  # type: ignore[arg-type]
    assert strategy._as_class(resources) == ("DEFAULT", Group.id.binary(), True)
    id = Group.id.hex()
    assert resources == {f"CPU_group_{id}": 10_000, f"CPU_group_1_{id}": 10_000}


def test_a_task_that_needs_nothing_is_placed_in_its_group_all_the_same() -> None:
    resources: dict[str, int] = {}
    PlacementGroupSchedulingStrategy(Group())._as_class(resources)  # type: ignore[arg-type]
    assert list(resources) == [f"bundle_group_{Group.id.hex()}"]


@pytest.mark.parametrize(
    ("index", "resources"), [(2, {}), (-2, {}), (0, {"CPU": 20_000}), (-1, {"R": 20_000})]
)
def test_what_no_bundle_can_hold_is_refused(index: int, resources: dict[str, int]) -> None:
    with pytest.raises(ValueError):
        PlacementGroupSchedulingStrategy(Group(), index)._as_class(resources)  # type: ignore[arg-type]


@pytest.fixture
def where(ray: Any) -> Any:
    @ray.remote
    def where() -> str:
        return ray.get_runtime_context().get_node_id()  # type: ignore[no-any-return]

    return where


def test_a_task_runs_on_the_node_that_is_named(ray: Any, where: Any) -> None:
    here = ray.get_runtime_context().get_node_id()
    for strategy in (
        NodeAffinitySchedulingStrategy(here, soft=False),
        NodeAffinitySchedulingStrategy(NOWHERE, soft=True),
        NodeLabelSchedulingStrategy({"ray.io/node-id": In(here)}),
        NodeLabelSchedulingStrategy({"no such label": DoesNotExist()}),
    ):
        assert ray.get(where.options(scheduling_strategy=strategy).remote(), timeout=30) == here


def test_a_task_that_is_tied_to_a_node_that_is_not_there_fails(ray: Any, where: Any) -> None:
    """Twice: the second is of the first one's scheduling class, of which the failure is known."""
    strategy = NodeAffinitySchedulingStrategy(NOWHERE, soft=False)
    for _ in range(2):
        with pytest.raises(TaskUnschedulableError):
            ray.get(where.options(scheduling_strategy=strategy).remote(), timeout=30)


def test_so_does_an_actor(ray: Any) -> None:
    @ray.remote
    class Tied:
        def ping(self) -> None:
            pass

    strategy = NodeAffinitySchedulingStrategy(NOWHERE, soft=False)
    actor = Tied.options(scheduling_strategy=strategy).remote()
    with pytest.raises(ActorUnschedulableError):
        ray.get(actor.ping.remote(), timeout=30)
