"""Which options there are, what they may be, and what they ask of a node."""

from __future__ import annotations

import math
import warnings
from typing import Any

import pytest

from ray_on_dask.api.options import (
    actor_options,
    actor_overrides,
    check_at_call,
    check_generator,
    merge,
    method_options,
    method_overrides,
    resources_of,
    task_options,
    task_overrides,
)


class NodeAffinitySchedulingStrategy:
    """Stands for the class of that name."""


def test_options_not_given_have_rays_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_TASK_MAX_RETRIES", raising=False)
    task = task_options()
    assert (task["max_retries"], task["max_calls"], task["retry_exceptions"]) == (3, 0, False)
    assert (task["num_returns"], task["num_cpus"], task["placement_group"]) == (
        None, None, "default",
    )  # fmt: skip
    actor = actor_options()
    assert (actor["max_restarts"], actor["max_task_retries"], actor["max_pending_calls"]) == (
        0, 0, -1,
    )  # fmt: skip
    assert method_options() == {}


def test_the_environment_sets_how_often_a_task_is_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TASK_MAX_RETRIES", "7")
    assert task_options()["max_retries"] == 7
    assert task_options(max_retries=0)["max_retries"] == 0


def test_none_stands_for_the_default_of_a_number() -> None:
    assert task_options(max_calls=None, max_retries=None)["max_calls"] == 0
    assert task_overrides(max_retries=None)["max_retries"] == task_options()["max_retries"]
    assert actor_options(max_restarts=None)["max_restarts"] == 0
    assert task_options(placement_group=None)["placement_group"] is None


def test_a_task_on_a_gpu_gets_a_process_of_its_own_unless_told_otherwise() -> None:
    assert task_options(num_gpus=1)["max_calls"] == 1
    assert task_options(num_gpus=1, max_calls=0)["max_calls"] == 0
    assert task_options(num_gpus=0)["max_calls"] == 0


# -- names -------------------------------------------------------------------------------


def test_an_unknown_option_is_refused_with_the_nearest_name_and_all_names() -> None:
    with pytest.raises(ValueError, match=r"keyword num_cups for remote functions.*'num_cpus'"):
        task_options(num_cups=1)
    with pytest.raises(ValueError, match=r"keyword max_retries for actors.*max_task_retries.*name"):
        actor_options(max_retries=1)
    with pytest.raises(ValueError, match="namespace"):
        task_options(namespace="x")


@pytest.mark.parametrize("name", ["max_calls", "num_returns", "retry_exceptions", "max_retries"])
def test_actors_do_not_take_what_belongs_to_tasks(name: str) -> None:
    with pytest.raises(ValueError, match="for actors"):
        actor_options(**{name: 1})


def test_options_are_checked_in_the_order_in_which_they_are_given() -> None:
    with pytest.raises(ValueError, match="zzz"):
        task_options(zzz=1, num_cpus="a")
    with pytest.raises(TypeError, match="num_cpus"):
        task_options(num_cpus="a", zzz=1)


# -- types and values --------------------------------------------------------------------

GOOD: list[tuple[str, Any]] = [
    ("num_cpus", 0), ("num_cpus", 0.0001), ("num_cpus", True), ("num_gpus", 1.5),
    ("memory", 0.5), ("memory", 10**12), ("resources", {}), ("resources", {"a": 0, "b": 1.5}),
    ("resources", {"memory": 1}), ("resources", {1: 1}), ("accelerator_type", ""),
    ("label_selector", {"a": "b", "ray.io/node-id": "!x", "c": "in(x,y)", "d": "!in(x)", "e": ""}),
    ("fallback_strategy", []), ("fallback_strategy", [{"label_selector": {"a": "b"}}]),
    ("name", ""), ("runtime_env", {"env_vars": {"a": "b"}, "unknown": 1}),
    ("scheduling_strategy", "SPREAD"), ("scheduling_strategy", "wrong, told at the call"),
    ("scheduling_strategy", NodeAffinitySchedulingStrategy()), ("_labels", {"a": 1}),
    ("placement_group", object()), ("enable_task_events", False),
]  # fmt: skip
BAD: list[tuple[str, Any, type[Exception]]] = [
    ("num_cpus", -1, ValueError), ("num_cpus", 0.00001, ValueError), ("num_cpus", "1", TypeError),
    ("num_cpus", math.nan, ValueError), ("num_cpus", math.inf, OverflowError),
    ("num_gpus", -0.5, ValueError), ("memory", -1, ValueError), ("memory", "1", TypeError),
    ("resources", {"CPU": 1}, ValueError), ("resources", {"GPU": 1}, ValueError),
    ("resources", {"a": -1}, ValueError), ("resources", {"a": 0.00001}, ValueError),
    ("resources", {"a": "x"}, TypeError), ("resources", [("a", 1)], TypeError),
    ("accelerator_type", 1, TypeError), ("label_selector", "x", TypeError),
    ("label_selector", {"a": 1}, TypeError), ("label_selector", {1: "a"}, TypeError),
    ("label_selector", {"": "b"}, ValueError), ("label_selector", {"a b": "c"}, ValueError),
    ("label_selector", {"a": "b c"}, ValueError), ("label_selector", {"a": "in(x"}, ValueError),
    ("label_selector", {"a": "in()"}, ValueError), ("label_selector", {"a": "!"}, ValueError),
    ("fallback_strategy", "a", TypeError), ("fallback_strategy", [1], ValueError),
    ("fallback_strategy", [{}], ValueError), ("fallback_strategy", [{"x": 1}], ValueError),
    ("fallback_strategy", [{"label_selector": {"a": 1}}], TypeError), ("name", 1, TypeError),
    ("runtime_env", "x", TypeError), ("runtime_env", {"env_vars": {"a": 1}}, TypeError),
    ("scheduling_strategy", 1, TypeError), ("enable_task_events", None, TypeError),
    ("enable_task_events", 1, TypeError), ("_labels", 1, TypeError),
    ("placement_group_bundle_index", "x", TypeError),
    ("placement_group_capture_child_tasks", 1, TypeError),
]  # fmt: skip


@pytest.mark.parametrize("of", [task_options, actor_options, task_overrides, actor_overrides])
@pytest.mark.parametrize(("name", "value"), GOOD)
def test_what_ray_accepts_is_accepted(of: Any, name: str, value: Any) -> None:
    assert of(**{name: value})[name] == value


@pytest.mark.parametrize("of", [task_options, actor_options, task_overrides, actor_overrides])
@pytest.mark.parametrize(("name", "value", "error"), BAD)
def test_what_ray_refuses_is_refused_with_the_same_class(
    of: Any, name: str, value: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        of(**{name: value})


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("object_store_memory", 5, ValueError), ("object_store_memory", 1.5, TypeError),
        ("num_returns", -1, ValueError), ("num_returns", 1.5, TypeError),
        ("num_returns", "x", TypeError), ("max_calls", -1, ValueError),
        ("max_calls", "a", TypeError), ("max_retries", -2, ValueError),
        ("retry_exceptions", None, TypeError), ("retry_exceptions", ValueError, TypeError),
        ("retry_exceptions", [1], ValueError), ("retry_exceptions", [BaseException], ValueError),
        ("_generator_backpressure_num_objects", 0, ValueError),
        ("_num_objects_per_yield", 0, ValueError),
    ],
)  # fmt: skip
def test_options_of_tasks_alone_are_checked(name: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        task_options(**{name: value})


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("object_store_memory", -1, ValueError), ("lifetime", "x", ValueError),
        ("lifetime", 1, TypeError), ("max_concurrency", -1, ValueError),
        ("max_concurrency", 1.5, TypeError), ("max_restarts", -2, ValueError),
        ("max_task_retries", -2, ValueError), ("max_pending_calls", -2, ValueError),
        ("namespace", 1, TypeError), ("get_if_exists", None, TypeError),
        ("get_if_exists", True, ValueError), ("concurrency_groups", "x", TypeError),
        ("allow_out_of_order_execution", 1, TypeError),
        ("_actor_generator_backpressure_num_objects", 0, ValueError),
    ],
)  # fmt: skip
def test_options_of_actors_alone_are_checked(name: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        actor_options(**{name: value})


def test_store_memory_of_an_actor_is_accepted_with_a_warning() -> None:
    with pytest.warns(DeprecationWarning, match="object_store_memory"):
        assert actor_options(object_store_memory=5)["object_store_memory"] == 5


# -- the names of earlier eras -----------------------------------------------------------


@pytest.mark.parametrize("of", [task_options, task_overrides, method_options, method_overrides])
def test_num_return_vals_is_num_returns(of: Any) -> None:
    options = of(num_return_vals=3)
    assert options["num_returns"] == 3
    assert "num_return_vals" not in options
    assert of(num_return_vals=3, num_returns=3)["num_returns"] == 3
    with pytest.raises(ValueError, match=r"num_return_vals=3 and num_returns=2"):
        of(num_return_vals=3, num_returns=2)
    with pytest.raises(TypeError):
        of(num_return_vals=1.5)


@pytest.mark.parametrize("of", [task_options, actor_options])
def test_num_custom_resource_is_a_resource_called_custom(of: Any) -> None:
    assert of(num_custom_resource=2)["resources"] == {"custom": 2}
    assert of(num_custom_resource=2, resources={"a": 1})["resources"] == {"a": 1, "custom": 2}
    assert of(num_custom_resource=None)["resources"] is None
    with pytest.raises(ValueError, match="differ"):
        of(num_custom_resource=2, resources={"custom": 1})
    with pytest.raises(ValueError, match="negative"):
        of(num_custom_resource=-2)
    with pytest.raises(TypeError, match="resources"):
        of(num_custom_resource=2, resources="a")


def test_an_actor_may_have_a_checkpoint_interval_and_a_task_may_not() -> None:
    assert actor_options(checkpoint_interval=10)["checkpoint_interval"] == 10
    with pytest.raises(ValueError, match="checkpoint_interval"):
        task_options(checkpoint_interval=10)


# -- .options ----------------------------------------------------------------------------


def test_options_replace_those_of_the_decorator_key_by_key() -> None:
    decorator = task_options(resources={"a": 1}, num_cpus=2)
    merged = merge(decorator, task_overrides(resources={"b": 1}, name="x"))
    assert (merged["resources"], merged["num_cpus"], merged["name"]) == ({"b": 1}, 2, "x")
    assert merge(merged, task_overrides(resources=None))["resources"] is None
    assert decorator["resources"] == {"a": 1}


@pytest.mark.parametrize(
    ("of", "name", "value"),
    [
        (task_overrides, "max_calls", 1),
        (task_overrides, "_num_objects_per_yield", 2),
        (actor_overrides, "concurrency_groups", {"io": 1}),
    ],
)
def test_some_options_belong_to_the_decorator_alone(of: Any, name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=r"\.options\(\)"):
        of(**{name: value})


def test_an_actor_can_only_be_looked_for_by_name() -> None:
    named = actor_options(name="n")
    assert merge(named, actor_overrides(get_if_exists=True))["get_if_exists"]
    with pytest.raises(ValueError, match="name"):
        merge(actor_options(), actor_overrides(get_if_exists=True))


def test_a_placement_group_and_a_strategy_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="placement group"):
        task_options(placement_group=object(), scheduling_strategy="SPREAD")
    with pytest.raises(ValueError, match="placement group"):
        merge(task_options(placement_group=object()), {"scheduling_strategy": "SPREAD"})
    task_options(placement_group=None, scheduling_strategy="SPREAD")


def test_methods_take_few_options() -> None:
    given = {"num_returns": 2, "concurrency_group": "io", "max_task_retries": 1}
    assert method_options(**given) == given
    assert method_overrides(name="n", **given)["name"] == "n"
    with pytest.raises(AssertionError, match="num_cpus"):
        method_options(num_cpus=1)
    with pytest.raises(TypeError, match="num_cpus"):
        method_overrides(num_cpus=1)
    with pytest.raises(ValueError, match="num_returns"):
        method_options(num_returns=-1)


# -- the call ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["task", "actor"])
@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"num_gpus": 1.5}, ValueError),
        ({"resources": {"memory": 1}}, ValueError),
        ({"resources": {"object_store_memory": 1}}, ValueError),
        ({"resources": {1: 1}}, TypeError),
        ({"scheduling_strategy": "x"}, ValueError),
        ({"scheduling_strategy": ""}, ValueError),
    ],
)
def test_some_values_are_refused_at_the_call_and_not_before(
    kind: str, options: dict[str, Any], error: type[Exception]
) -> None:
    of = task_options if kind == "task" else actor_options
    given = of(**options)
    with pytest.raises(error):
        check_at_call(given, kind)


def test_fractions_and_whole_numbers_of_gpus_are_fine() -> None:
    for gpus in (0, 0.5, 1, 2.0, None):
        check_at_call(task_options(num_gpus=gpus))


@pytest.mark.parametrize("option", ["name", "namespace"])
def test_names_of_actors_must_not_be_empty(option: str) -> None:
    with pytest.raises(ValueError, match=option):
        check_at_call(actor_options(**{option: ""}), "actor")
    check_at_call(task_options(name=""), "task")


def test_what_runs_in_parallel_cannot_be_in_order() -> None:
    ordered = actor_options(allow_out_of_order_execution=False)
    check_at_call(ordered, "actor")
    with pytest.raises(ValueError, match="order"):
        check_at_call(ordered, "actor", is_async=True)
    with pytest.raises(ValueError, match="order"):
        check_at_call({**ordered, "max_concurrency": 3}, "actor")


def test_concurrency_groups_have_room_for_one_call_at_least() -> None:
    check_at_call(actor_options(concurrency_groups={"io": 2}), "actor")
    with pytest.raises(TypeError):
        check_at_call(actor_options(concurrency_groups={"io": "x"}), "actor")
    with pytest.raises(ValueError, match="positive"):
        check_at_call(actor_options(concurrency_groups={"io": 0}), "actor")


def test_only_generators_stream() -> None:
    check_generator(task_options(num_returns="streaming"), True)
    with pytest.raises(ValueError, match="yield"):
        check_generator(task_options(num_returns="streaming"), False)
    with pytest.warns(DeprecationWarning):
        check_generator(task_options(num_returns="dynamic"), True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_generator(task_options(num_returns=2), False)


# -- the demand --------------------------------------------------------------------------


def test_a_task_takes_one_cpu_unless_told_otherwise() -> None:
    assert resources_of(task_options()) == {"CPU": 10_000}
    assert resources_of(task_options(num_cpus=0)) == {}
    assert resources_of(task_options(num_gpus=0.5, resources={"a": 2, "b": 0})) == {
        "CPU": 10_000, "GPU": 5_000, "a": 20_000,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("quantity", "units"),
    [(1.00015, 10_001), (0.0001, 1), (0.57, 5_700), (0.29, 2_900), (3, 30_000), (1 / 3, 3_333)],
)
def test_quantities_are_cut_to_ten_thousandths(quantity: float, units: int) -> None:
    assert resources_of(task_options(num_cpus=quantity)) == {"CPU": units}


def test_memory_is_in_whole_bytes() -> None:
    assert resources_of(task_options(num_cpus=0, memory=1000.9)) == {"memory": 10_000_000}


def test_an_accelerator_is_asked_for_by_a_thousandth() -> None:
    demand = resources_of(task_options(accelerator_type="V100"))
    assert demand == {"CPU": 10_000, "accelerator_type:V100": 10}


@pytest.mark.parametrize(
    ("options", "placed", "held"),
    [
        ({}, {"CPU": 10_000}, {}),
        ({"num_cpus": 0}, {}, {}),
        ({"num_cpus": 0.5}, {"CPU": 5_000}, {"CPU": 5_000}),
        ({"num_gpus": 1}, {"CPU": 10_000, "GPU": 10_000}, {"CPU": 10_000, "GPU": 10_000}),
        ({"num_gpus": 0}, {"CPU": 10_000}, {"CPU": 10_000}),
        ({"resources": {}}, {"CPU": 10_000}, {}),
        ({"resources": {"R": 1}}, {"CPU": 10_000, "R": 10_000}, {"CPU": 10_000, "R": 10_000}),
        ({"resources": {"R": 1}, "num_cpus": 0}, {"R": 10_000}, {"R": 10_000}),
        ({"memory": 10}, {"CPU": 10_000, "memory": 100_000}, {"memory": 100_000}),
    ],
)
def test_an_actor_is_placed_by_one_demand_and_holds_another(
    options: dict[str, Any], placed: dict[str, int], held: dict[str, int]
) -> None:
    assert resources_of(actor_options(**options), "actor") == (placed, held)
