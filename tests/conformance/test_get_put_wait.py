"""`get`, `put` and `wait`: what they take, what they give, what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from conformance_module import eventually, exceptions, ray

pytestmark = pytest.mark.usefixtures("cluster")


@pytest.fixture
def gated(gate: Any) -> Any:
    """A remote function that ends when the gate opens."""

    @ray.remote(num_cpus=0)
    def gated(value: Any = None) -> Any:
        gate.wait()
        return value

    return gated


def finished(count: int) -> list[Any]:
    @ray.remote
    def same(x: int) -> int:
        return x

    refs = [same.remote(i) for i in range(count)]
    ray.get(refs)
    return refs


@pytest.mark.parametrize("wrong", [1, (), {}, "text", None])
def test_get_refuses_what_is_neither_a_ref_nor_a_list(wrong: Any) -> None:
    with pytest.raises(ValueError, match="Invalid type of object refs"):
        ray.get(wrong)


def test_get_refuses_a_list_with_something_else_in_it() -> None:
    ref = ray.put(1)
    for wrong in ([ref, 2], [[ref]]):
        with pytest.raises(TypeError, match="Attempting to call `get` on the value"):
            ray.get(wrong)


def test_get_of_a_list_keeps_order_and_duplicates() -> None:
    a, b = ray.put("a"), ray.put("b")
    assert ray.get([b, a, b]) == ["b", "a", "b"]
    assert ray.get([]) == []


def test_the_timeout_of_get_is_a_keyword() -> None:
    with pytest.raises(TypeError):
        ray.get(ray.put(1), 1.0)


def test_get_times_out_after_that_many_seconds(gated: Any) -> None:
    ref = gated.remote()
    for timeout in (0, 0.1):
        with pytest.raises(exceptions.GetTimeoutError, match="not ready") as caught:
            ray.get(ref, timeout=timeout)
        assert isinstance(caught.value, TimeoutError)
    with pytest.raises(exceptions.GetTimeoutError):
        ray.get([ray.put(1), ref], timeout=0.1)


def test_a_timeout_of_zero_gives_what_is_ready_and_none_or_minus_one_waits(
    gated: Any, gate: Any
) -> None:
    assert ray.get(ray.put(1), timeout=0) == 1
    refs = [gated.remote(1), gated.remote(2)]
    gate.open()
    assert ray.get(refs[0], timeout=None) == 1
    assert ray.get(refs[1], timeout=-1) == 2


def test_get_of_a_list_raises_without_waiting_for_the_others(gated: Any) -> None:
    @ray.remote
    def fail() -> None:
        raise KeyError("early")

    with pytest.raises(KeyError, match="early"):
        ray.get([gated.remote(), fail.remote()], timeout=60)


def test_put_refuses_a_ref_but_takes_a_list_of_refs() -> None:
    ref = ray.put(1)
    with pytest.raises(TypeError, match="Calling 'put' on an"):
        ray.put(ref)
    assert ray.get(ray.get(ray.put([ref]))[0]) == 1


def test_two_gets_give_equal_values_that_are_not_the_same() -> None:
    ref = ray.put([1, {"a": [2]}])
    first, second = ray.get(ref), ray.get(ref)
    assert first == second
    assert first is not second
    first[1]["a"].append(3)
    assert ray.get(ref) == second


@pytest.mark.parametrize("size", [3, 200_000])
def test_arrays_come_back_read_only(size: int) -> None:
    @ray.remote
    def flags(array: Any) -> bool:
        return array.flags.writeable

    @ray.remote
    def make(size: int) -> Any:
        return np.ones(size)

    array = np.ones(size)
    ref = ray.put(array)
    with pytest.raises(ValueError, match="read-only"):
        ray.get(ref)[0] = 1
    assert not ray.get(make.remote(size)).flags.writeable
    assert not ray.get(ray.put([array]))[0].flags.writeable
    assert ray.get([flags.remote(array), flags.remote(ref)]) == [False, False]


def test_arrays_of_objects_and_strided_ones_come_back_writable() -> None:
    for array in (np.array([1, "a"], dtype=object), np.arange(10)[::2]):
        back = ray.get(ray.put(array))
        assert back.flags.writeable
        assert (back == array).all()


def test_wait_gives_ready_and_the_rest(gated: Any) -> None:
    blocked = [gated.remote(), gated.remote()]
    done = finished(2)
    ready, rest = ray.wait([blocked[0], *done, blocked[1]], num_returns=2, timeout=30.0)
    assert ready == done
    assert rest == blocked


def test_wait_returns_fewer_when_its_timeout_ends(gated: Any) -> None:
    blocked, done = gated.remote(), ray.put(1)
    assert ray.wait([blocked, done], num_returns=2, timeout=0.1) == ([done], [blocked])
    assert ray.wait([blocked], timeout=0.0) == ([], [blocked])


def test_wait_waits_for_one_by_default(gated: Any, gate: Any) -> None:
    refs = [gated.remote(i) for i in range(3)]
    gate.open()
    ready, rest = ray.wait(refs)
    assert len(ready) == 1
    assert sorted(ray.get(ready + rest)) == [0, 1, 2]


def test_wait_gives_no_more_than_asked_and_keeps_order() -> None:
    refs = finished(6)
    ready, rest = ray.wait(refs, num_returns=3)
    assert len(ready) == 3
    assert [ref for ref in refs if ref in ready] == ready
    assert [ref for ref in refs if ref in rest] == rest
    assert set(ready) | set(rest) == set(refs)


def test_a_failed_object_counts_as_ready() -> None:
    @ray.remote
    def fail() -> None:
        raise ValueError

    ref = fail.remote()
    assert ray.wait([ref], timeout=30.0) == ([ref], [])
    assert ray.wait([ref], timeout=0.0) == ([ref], [])


def test_wait_refuses_what_is_no_list_of_refs() -> None:
    ref = ray.put(1)
    with pytest.raises(TypeError, match="expected a list"):
        ray.wait(ref)
    for wrong in ((ref,), {ref}, [ref, 1]):
        with pytest.raises(TypeError):
            ray.wait(wrong)
    assert ray.wait([]) == ([], [])


@pytest.mark.parametrize(
    ("count", "options", "text"),
    [
        (1, {"timeout": -1.0}, "timeout"),
        (2, {"num_returns": 0}, "Invalid number of objects"),
        (2, {"num_returns": -1}, "Invalid number of objects"),
        (2, {"num_returns": 3}, "num_returns cannot be greater"),
    ],
)
def test_wait_refuses_impossible_numbers(count: int, options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        ray.wait([ray.put(i) for i in range(count)], **options)


def test_wait_refuses_the_same_ref_twice() -> None:
    ref = ray.put(1)
    with pytest.raises(ValueError, match="unique"):
        ray.wait([ref, ref])


def test_fetch_local_is_accepted() -> None:
    ref = ray.put(1)
    assert ray.wait([ref], fetch_local=False) == ([ref], [])


def test_a_steady_number_of_tasks_is_kept_in_flight_by_wait() -> None:
    @ray.remote
    def one() -> int:
        return 1

    rest, seen = [one.remote() for _ in range(5)], 0
    for _ in range(50):
        ready, rest = ray.wait(rest)
        seen += sum(ray.get(ready))
        rest.append(one.remote())
    assert (seen, len(rest)) == (50, 5)


def test_get_and_wait_work_inside_a_task(gate: Any, gated: Any) -> None:
    @ray.remote
    def looks(refs: list[Any]) -> tuple[int, int, int]:
        ready, rest = ray.wait(refs, num_returns=2, timeout=0.2)
        gate.open()
        return len(ready), len(rest), sum(ray.get(refs))

    assert ray.get(looks.remote([gated.remote(5), ray.put(6)])) == (1, 1, 11)


def test_many_small_and_one_large_object_survive_the_round_trip() -> None:
    large = np.arange(1_000_000)
    refs = [ray.put(i) for i in range(300)] + [ray.put(large)]
    *small, back = ray.get(refs)
    assert small == list(range(300))
    assert (back == large).all()


def test_the_value_of_a_large_task_argument_is_the_same_in_every_task() -> None:
    @ray.remote
    def total(array: Any) -> int:
        return int(array.sum())

    ref = ray.put(np.ones(500_000, dtype=np.int64))
    assert ray.get([total.remote(ref) for _ in range(4)]) == [500_000] * 4


def test_future_callbacks_see_the_object_become_ready(gated: Any, gate: Any) -> None:
    ref, seen = gated.remote(8), []
    ref.future().add_done_callback(lambda future: seen.append(future.result()))
    gate.open()
    eventually(lambda: seen == [8])
