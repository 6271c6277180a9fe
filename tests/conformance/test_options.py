"""Options of ``remote`` and ``.options``: names, types, values, merging."""

from __future__ import annotations

from typing import Any

import pytest
from conformance_module import ray

pytestmark = pytest.mark.usefixtures("cluster")


def targets() -> tuple[Any, ...]:
    """A function and two classes that travel by value, for they are local to this one."""

    def function() -> None: ...

    class Actor:
        def ping(self) -> None: ...

    class Async:
        async def ping(self) -> None: ...

    return function, Actor, Async


function, Actor, Async = targets()


@pytest.mark.parametrize(
    ("target", "options"),
    [
        (function, {"no_such_option": 1}),
        (Actor, {"no_such_option": 1}),
        (function, {"max_restarts": 1}),
        (function, {"lifetime": "detached"}),
        (Actor, {"num_returns": 1}),
        (Actor, {"max_retries": 1}),
        (Actor, {"max_calls": 1}),
    ],
)
def test_an_unknown_option_is_refused_by_name(target: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Invalid option keyword"):
        ray.remote(**options)(target)


@pytest.mark.parametrize(
    ("target", "options"),
    [
        (function, {"num_cpus": "1"}),
        (function, {"resources": [("a", 1)]}),
        (function, {"max_retries": 1.5}),
        (function, {"name": 1}),
        (Actor, {"max_concurrency": "2"}),
        (Actor, {"get_if_exists": "yes"}),
    ],
)
def test_an_option_of_the_wrong_type_is_refused(target: Any, options: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="type of keyword"):
        ray.remote(**options)(target)


@pytest.mark.parametrize(
    ("target", "options"),
    [
        (function, {"num_cpus": -1}),
        (function, {"num_cpus": 0.00001}),
        (function, {"num_gpus": -1}),
        (function, {"resources": {"CPU": 1}}),
        (function, {"resources": {"GPU": 1}}),
        (function, {"num_returns": -1}),
        (function, {"num_returns": "streaming"}),
        (function, {"max_calls": -1}),
        (function, {"max_retries": -2}),
        (function, {"retry_exceptions": [1]}),
        (function, {"object_store_memory": 1}),
        (Actor, {"max_restarts": -2}),
        (Actor, {"max_task_retries": -2}),
        (Actor, {"max_pending_calls": -2}),
        (Actor, {"max_concurrency": -1}),
        (Actor, {"lifetime": "long"}),
    ],
)
def test_an_option_of_an_impossible_value_is_refused(target: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        ray.remote(**options)(target)


@pytest.mark.parametrize(
    ("target", "options"),
    [
        (function, {"num_gpus": 1.5}),
        (function, {"resources": {"memory": 1}}),
        (function, {"scheduling_strategy": "SOMEHOW"}),
        (Actor, {"get_if_exists": True}),
        (Actor, {"max_concurrency": 2, "allow_out_of_order_execution": False}),
    ],
)
def test_some_values_are_refused_at_the_call_at_latest(
    target: Any, options: dict[str, Any]
) -> None:
    with pytest.raises(ValueError):
        ray.remote(**options)(target).remote()


@pytest.mark.parametrize(
    ("target", "options"),
    [(function, {"max_calls": 1}), (Actor, {"concurrency_groups": {"io": 1}})],
)
def test_some_options_belong_to_the_decorator_only(target: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        ray.remote(target).options(**options)


def test_options_override_the_decorator_key_by_key() -> None:
    def held() -> dict[str, float]:
        return ray.get_runtime_context().get_assigned_resources()

    base = ray.remote(num_cpus=2, num_returns=1)(held)
    assert ray.get(base.remote()) == {"CPU": 2.0}
    assert ray.get(base.options(num_cpus=1).remote()) == {"CPU": 1.0}
    assert ray.get(base.options(name="other").remote()) == {"CPU": 2.0}


def test_resources_are_replaced_whole() -> None:
    task = ray.remote(resources={"Unheard": 1})(function)
    ray.get(task.options(resources=None).remote())
    ray.get(task.options(resources={}).remote())


def test_options_give_something_to_call_once() -> None:
    for target in (function, Actor):
        wrapped = ray.remote(target).options(num_cpus=1)
        assert hasattr(wrapped, "remote")
        assert hasattr(wrapped, "bind")
        assert not hasattr(wrapped, "options")


def test_a_coroutine_class_gets_a_concurrency_of_its_own() -> None:
    ray.get(ray.remote(Async).options(max_concurrency=5).remote().ping.remote())


def test_underscore_remote_takes_arguments_and_options_apart() -> None:
    task = ray.remote(lambda a, b: (a, b))
    assert ray.get(task._remote(args=(1,), kwargs={"b": 2}, num_cpus=0.5)) == (1, 2)
    assert ray.get(task._remote((1, 2), {}, num_returns=2)) == [1, 2]


def test_the_wrapper_keeps_doc_and_signature() -> None:
    import inspect

    def documented(a: int, b: int = 2) -> None:
        """What it does."""

    task = ray.remote(documented)
    assert task.remote.__doc__ == "What it does."
    assert list(inspect.signature(task.remote).parameters) == ["a", "b"]
    assert task._function is documented
