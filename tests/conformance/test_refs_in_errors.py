"""Refs and handles inside exceptions: they arrive, and keep what they refer to."""

from __future__ import annotations

import gc
import time
from typing import Any

import pytest
from conformance_module import ray

pytestmark = pytest.mark.usefixtures("cluster")


def raising(size: int = 1) -> Any:
    """The ref of a task that raises `Told`, with a ref in it to a value of its own."""

    class Told(Exception):
        def __init__(self, ref: Any) -> None:
            super().__init__(ref)
            self.ref = ref

    def fail() -> None:
        raise Told(ray.put("x" * size))

    return ray.remote(fail).remote()


def error_of(ref: Any) -> Any:
    with pytest.raises(Exception) as caught:
        ray.get(ref)
    return caught.value


def settle() -> None:
    """Give those who let go of something the time to do so."""
    gc.collect()
    time.sleep(0.5)


@pytest.mark.parametrize("size", [1, 1_000_000])
def test_a_ref_in_an_exception_arrives_with_its_class(size: int) -> None:
    error = error_of(raising(size))
    settle()
    assert type(error).__name__ == "RayTaskError(Told)"
    assert len(ray.get(error.ref)) == size
    assert error.cause.args == (error.ref,)


def test_the_error_keeps_the_ref_for_as_long_as_it_can_be_fetched() -> None:
    ref = raising(1_000_000)
    ray.wait([ref])
    settle()
    for _ in range(2):
        assert len(ray.get(error_of(ref).ref)) == 1_000_000
        settle()


def test_a_task_that_gets_the_error_of_another_passes_the_ref_on() -> None:
    def outer(refs: Any) -> None:
        ray.get(refs[0])

    error = error_of(ray.remote(outer).remote([raising(1_000_000)]))
    settle()
    assert len(ray.get(error.ref)) == 1_000_000


def test_a_task_whose_argument_has_failed_fails_with_the_same_ref() -> None:
    def consume(x: Any) -> Any:
        return x

    class Consumer:
        def consume(self, x: Any) -> Any:
            return x

    failed = raising(1_000_000)
    by_task = ray.remote(consume).remote(failed)
    by_actor = ray.remote(Consumer).remote().consume.remote(failed)
    ray.wait([by_task, by_actor], num_returns=2)
    expected = error_of(failed).ref
    del failed
    settle()
    assert error_of(by_task).ref == expected
    assert error_of(by_actor).ref == expected
    del expected
    settle()
    assert len(ray.get(error_of(by_task).ref)) == 1_000_000


def test_a_process_that_is_sent_the_failed_ref_reads_the_ref_in_the_error() -> None:
    def read(refs: Any) -> int:
        try:
            ray.get(refs[0])
        except Exception as error:
            return len(ray.get(error.ref))  # type: ignore[attr-defined]
        return -1

    assert ray.get(ray.remote(read).remote([raising(1_000_000)])) == 1_000_000


def test_refs_arrive_in_errors_of_methods_of_all_kinds_of_actors() -> None:
    class Plain:
        def fail(self) -> None:
            raise ValueError([ray.put(1)])

    class Asynchronous:
        async def fail(self) -> None:
            raise ValueError([ray.put(2)])

    actors = [
        ray.remote(Plain).remote(),
        ray.remote(Asynchronous).remote(),
        ray.remote(max_concurrency=2)(Plain).remote(),
    ]
    errors = [error_of(actor.fail.remote()) for actor in actors]
    settle()
    assert [ray.get(error.cause.args[0][0]) for error in errors] == [1, 2, 1]


def test_a_stream_ends_with_an_error_that_has_a_ref() -> None:
    def values() -> Any:
        yield [ray.put("first")]
        raise ValueError([ray.put("last")])

    first, last = ray.remote(values).remote()
    settle()
    assert ray.get(ray.get(first)[0]) == "first"
    assert ray.get(error_of(last).cause.args[0][0]) == "last"


def test_every_result_of_a_failed_task_has_the_ref() -> None:
    def fail() -> None:
        raise ValueError([ray.put("seen")])

    one, two = ray.remote(num_returns=2)(fail).remote()
    one_ref = error_of(one).cause.args[0][0]
    del one
    settle()
    assert error_of(two).cause.args[0][0] == one_ref
    assert ray.get(one_ref) == "seen"


def test_a_task_that_is_tried_again_after_such_an_error_succeeds(journal: Any) -> None:
    def flaky() -> int:
        journal.write("run")
        if len(journal.read()) < 3:
            raise ValueError([ray.put("x" * 1_000_000)])
        return 7

    chosen = ray.remote(max_retries=3, retry_exceptions=[ValueError])(flaky)
    assert ray.get(chosen.remote()) == 7


def test_a_handle_in_an_exception_keeps_its_actor() -> None:
    class Counter:
        def value(self) -> int:
            return 3

    def fail() -> None:
        counter = ray.remote(Counter).remote()
        ray.get(counter.value.remote())
        raise ValueError("busy", counter)

    error = error_of(ray.remote(fail).remote())
    settle()
    assert ray.get(error.cause.args[1].value.remote()) == 3
