"""Calling remote functions: arguments, returns, what is captured and when."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from conformance_module import exceptions, ray

pytestmark = pytest.mark.usefixtures("cluster")


def test_a_remote_function_cannot_be_called_directly() -> None:
    @ray.remote
    def shout() -> None: ...

    with pytest.raises(TypeError, match=r"cannot be called directly.*shout\.remote\(\)"):
        shout()


def test_an_actor_class_and_its_methods_cannot_be_called_directly() -> None:
    @ray.remote
    class Door:
        def knock(self) -> str:
            return "yes"

    with pytest.raises(TypeError, match=r"cannot be instantiated directly.*Door\.remote\(\)"):
        Door()
    door = Door.remote()
    with pytest.raises(TypeError, match=r"cannot be called directly.*knock\.remote\(\)"):
        door.knock()


@pytest.mark.parametrize(
    ("args", "kwargs", "text"),
    [
        ((1,), {}, "missing a required argument: 'b'"),
        ((1, 2, 3), {}, "too many positional arguments"),
        ((1, 2), {"c": 3}, "unexpected keyword argument 'c'"),
    ],
)
def test_wrong_arguments_are_refused_in_the_caller(
    args: tuple[int, ...], kwargs: dict[str, int], text: str
) -> None:
    @ray.remote
    def add(a: int, b: int) -> int:
        return a + b

    @ray.remote
    class Adder:
        def __init__(self, a: int, b: int) -> None: ...

        def add(self, a: int, b: int) -> int:
            return a + b

    for call in (add.remote, Adder.remote, Adder.remote(1, 2).add.remote):
        with pytest.raises(TypeError, match=text):
            call(*args, **kwargs)


def test_refs_at_the_top_become_values_and_nested_ones_stay_refs() -> None:
    @ray.remote
    def kinds(a: Any, nested: Any, *more: Any, k: Any, z: Any) -> list[bool]:
        found = [a, nested[0], more[0], k, z["a"], z["t"][0]]
        return [isinstance(each, ray.ObjectRef) for each in found]

    r = ray.put(7)
    result = kinds.remote(r, [r], r, k=r, z={"a": r, "t": (r,)})
    assert ray.get(result) == [False, True, False, False, True, True]


def test_a_nested_ref_can_be_read_by_the_task() -> None:
    @ray.remote
    def total(refs: list[Any]) -> int:
        return sum(ray.get(refs))

    assert ray.get(total.remote([ray.put(i) for i in range(5)])) == 10


def test_every_kind_of_parameter_works() -> None:
    @ray.remote
    def everything(
        a: int, /, b: int, c: int = 3, *rest: int, d: int, e: int = 5, **more: int
    ) -> Any:
        return a, b, c, rest, d, e, more

    assert ray.get(everything.remote(1, 2, d=4)) == (1, 2, 3, (), 4, 5, {})
    result = everything.remote(1, 2, 30, 31, d=ray.put(4), e=50, f=ray.put(6))
    assert ray.get(result) == (1, 2, 30, (31,), 4, 50, {"f": 6})


def test_parameters_may_have_the_names_of_options() -> None:
    @ray.remote
    def clash(num_cpus: int, args: int, kwargs: int, name: str = "") -> Any:
        return num_cpus, args, kwargs, name

    assert ray.get(clash.remote(1, args=2, kwargs=3, name="n")) == (1, 2, 3, "n")


def test_arguments_and_puts_are_taken_as_they_are_at_the_call(gate: Any) -> None:
    @ray.remote
    def late(values: list[int]) -> list[int]:
        gate.wait()
        return values

    values = [1, 2]
    called, stored = late.remote(values), ray.put(values)
    values.append(3)
    gate.open()
    assert ray.get([called, stored]) == [[1, 2], [1, 2]]


def test_the_same_object_given_twice_arrives_as_two() -> None:
    @ray.remote
    def same(a: list[int], b: list[int]) -> bool:
        return a is b

    values = [1]
    ref = ray.put(values)
    assert ray.get([same.remote(values, values), same.remote(ref, ref)]) == [False, False]


def test_a_returned_ref_is_not_flattened() -> None:
    @ray.remote
    def inner() -> int:
        return 4

    @ray.remote
    def outer() -> Any:
        return inner.remote()

    ref = ray.get(outer.remote())
    assert isinstance(ref, ray.ObjectRef)
    assert ray.get(ref) == 4


def test_num_returns_zero_gives_none_and_one_keeps_a_tuple_whole() -> None:
    @ray.remote
    def pair() -> tuple[int, int]:
        return 1, 2

    assert pair.options(num_returns=0).remote() is None
    assert ray.get(pair.options(num_returns=1).remote()) == (1, 2)
    assert ray.get(pair.remote()) == (1, 2)


@pytest.mark.parametrize("make", [tuple, list, "".join, np.array])
def test_anything_of_the_right_length_is_split_into_returns(make: Callable[..., Any]) -> None:
    def three() -> Any:
        return make(["a", "b", "c"])

    refs = ray.remote(num_returns=3)(three).remote()
    assert isinstance(refs, list)
    assert ray.get(refs) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        ((1, 2, 3), ValueError, "returned 3 objects, but num_returns=2"),
        ((1,), ValueError, "returned 1 objects, but num_returns=2"),
        (5, TypeError, r"'int' has no len\(\)"),
        (None, TypeError, r"'NoneType' has no len\(\)"),
    ],
)
def test_the_wrong_number_of_returns_fails_every_ref(
    value: Any, kind: type[Exception], text: str
) -> None:
    @ray.remote(num_returns=2)
    def wrong() -> Any:
        return value

    for ref in wrong.remote():
        with pytest.raises(kind, match=text) as caught:
            ray.get(ref)
        assert isinstance(caught.value, exceptions.RayTaskError)


def test_remote_decorates_functions_and_classes_only() -> None:
    for wrong in ((), (1,)):
        with pytest.raises(AssertionError):
            ray.remote(*wrong)
    for thing in (functools.partial(print),):
        with pytest.raises(TypeError, match="applied to either a function or a class"):
            ray.remote(thing)


def test_remote_takes_a_lambda_and_works_as_a_call() -> None:
    assert ray.get(ray.remote(lambda x: x * 2).remote(4)) == 8


def test_a_coroutine_function_cannot_be_a_task() -> None:
    async def waits() -> None: ...

    with pytest.raises(ValueError, match="async"):
        ray.remote(waits)


def test_what_a_function_refers_to_is_captured_at_its_first_call() -> None:
    number = 1

    @ray.remote
    def show() -> int:
        return number

    number = 2
    assert ray.get(show.remote()) == 2
    number = 3
    assert ray.get([show.remote(), show.options(num_cpus=0.5).remote()]) == [2, 2]


def test_a_function_may_use_another_that_is_defined_after_it() -> None:
    @ray.remote
    def first() -> int:
        return second() + 1

    def second() -> int:
        return 41

    assert ray.get(first.remote()) == 42


def test_workers_are_reused_and_keep_their_state() -> None:
    @ray.remote
    def grow(seen: list[int] = []) -> tuple[int, int]:  # noqa: B006
        seen.append(1)
        return os.getpid(), len(seen)

    pids, lengths = zip(*(ray.get(grow.remote()) for _ in range(12)), strict=True)
    assert len(set(pids)) < 12
    assert max(lengths) > 1
    assert os.getpid() not in pids


def test_what_cannot_be_pickled_is_refused_with_the_reason() -> None:
    lock = threading.Lock()

    @ray.remote
    def holds() -> Any:
        return lock

    @ray.remote
    def takes(x: Any) -> None: ...

    with pytest.raises(TypeError, match="Could not serialize the function"):
        holds.remote()
    with pytest.raises(TypeError, match="Could not serialize the argument"):
        takes.remote(lock)
    with pytest.raises(TypeError, match="Could not serialize the put value"):
        ray.put(lock)


def test_a_return_that_cannot_be_pickled_fails_the_task() -> None:
    @ray.remote
    def locks() -> Any:
        import threading

        return threading.Lock()

    with pytest.raises(TypeError) as caught:
        ray.get(locks.remote())
    assert isinstance(caught.value, exceptions.RayTaskError)


def test_remote_functions_actor_classes_and_handles_travel_into_tasks() -> None:
    @ray.remote
    def double(x: int) -> int:
        return 2 * x

    @ray.remote
    class Adder:
        def add(self, a: int, b: int) -> int:
            return a + b

    @ray.remote
    def use(function: Any, cls: Any, handle: Any) -> tuple[int, int, int]:
        calls = [function.remote(1), cls.remote().add.remote(1, 2), handle.add.remote(3, 4)]
        return tuple(ray.get(calls))

    assert ray.get(use.remote(double, Adder, Adder.remote())) == (2, 3, 7)


def test_a_remote_function_may_call_itself() -> None:
    @ray.remote
    def factorial(n: int) -> int:
        return 1 if n == 0 else n * ray.get(factorial.remote(n - 1))

    assert ray.get(factorial.remote(5)) == 120


def test_a_running_task_shows_its_name_as_process_title() -> None:
    @ray.remote
    def title() -> str:
        with open("/proc/self/cmdline") as file:
            return file.read().strip("\0 ")

    assert ray.get(title.remote()).startswith("ray::")
    assert ray.get(title.remote()).endswith("title")
    assert ray.get(title.options(name="special").remote()) == "ray::special"


def test_max_calls_ends_the_process_after_so_many_runs() -> None:
    @ray.remote(max_calls=1)
    def pid() -> int:
        return os.getpid()

    assert len({ray.get(pid.remote()) for _ in range(3)}) == 3
