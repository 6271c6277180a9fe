"""Exceptions of tasks: which class arrives, what it carries, how it reads."""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest
from conformance_module import exceptions, ray

pytestmark = pytest.mark.usefixtures("cluster")


def failing(error: BaseException, **options: Any) -> Any:
    """The ref of a task that raises `error`."""

    def fail() -> None:
        raise error

    return (ray.remote(**options)(fail) if options else ray.remote(fail)).remote()


def error_of(ref: Any) -> BaseException:
    with pytest.raises(BaseException) as caught:
        ray.get(ref)
    return caught.value


def test_the_error_is_of_the_users_class_and_of_rays() -> None:
    error = error_of(failing(KeyError("k")))
    kind = type(error)
    assert isinstance(error, KeyError)
    assert isinstance(error, exceptions.RayTaskError)
    assert isinstance(error, exceptions.RayError)
    assert kind.__name__ == "RayTaskError(KeyError)"
    assert kind.__mro__[1] is exceptions.RayTaskError
    assert kind.__mro__.index(exceptions.RayError) < kind.__mro__.index(KeyError)


def test_the_cause_is_the_original_and_its_attributes_show_through() -> None:
    class Told(Exception):
        def __init__(self, what: str) -> None:
            super().__init__(what)
            self.b = what * 2

    error: Any = error_of(failing(Told("x")))
    assert isinstance(error, Told)
    assert type(error.cause) is Told
    assert error.cause.args == ("x",)
    assert error.b == "xx"


def test_the_dual_has_the_cause_as_its_argument_and_in_its_repr() -> None:
    error = error_of(failing(ValueError("boom")))
    assert [type(arg) for arg in error.args] == [ValueError]
    assert repr(error) == "RayTaskError(ValueError)(ValueError('boom'))"
    assert error.__cause__ is None
    assert error.__context__ is None


def test_the_text_names_the_task_and_its_process_and_shows_the_users_lines() -> None:
    @ray.remote
    def culprit() -> None:
        raise ValueError("boom")

    text = str(error_of(culprit.remote()))
    assert "culprit()" in text
    assert "pid=" in text
    assert "ip=" in text
    assert 'raise ValueError("boom")' in text
    assert text.rstrip().endswith("ValueError: boom")


def test_the_text_of_an_actors_error_names_the_actor() -> None:
    @ray.remote
    class Fragile:
        def crack(self) -> None:
            raise ValueError("cracked")

        def whole(self) -> bool:
            return True

    fragile = Fragile.remote()
    error = error_of(fragile.crack.remote())
    assert isinstance(error, ValueError)
    assert "actor_id=" in str(error)
    assert "crack" in str(error)
    assert ray.get(fragile.whole.remote())


def test_odd_classes_of_exceptions_arrive_as_themselves() -> None:
    class Proper(Exception):
        @property
        def args(self) -> tuple[str]:  # type: ignore[override]
            return ("mine",)

    for error in (MemoryError("all gone"), Proper("x"), RecursionError(), StopIteration(3)):
        assert isinstance(error_of(failing(error)), type(error))


def test_a_bare_exception_is_raised_as_a_plain_task_error() -> None:
    error: Any = error_of(failing(Exception("plain")))
    assert type(error) is exceptions.RayTaskError
    assert type(error.cause) is Exception
    assert error.cause.args == ("plain",)
    assert "plain" in str(error)


def test_a_failed_argument_fails_the_consumer_without_running_it(journal: Any) -> None:
    @ray.remote
    def consume(value: Any) -> None:
        journal.write("ran")

    error: Any = error_of(consume.remote(consume.remote(failing(KeyError("deep")))))
    assert isinstance(error, KeyError)
    assert type(error.cause) is KeyError
    assert error.cause.args == ("deep",)
    assert "input arguments for this task could not be computed" in str(error)
    assert journal.read() == []


def test_an_error_raised_again_by_a_get_in_a_task_keeps_its_class() -> None:
    @ray.remote
    def inner() -> None:
        raise ZeroDivisionError("deep")

    @ray.remote
    def outer() -> None:
        ray.get(inner.remote())

    error: Any = error_of(outer.remote())
    assert isinstance(error, ZeroDivisionError)
    assert type(error.cause) is ZeroDivisionError
    assert "inner()" in str(error)
    assert "outer()" in str(error)


def test_a_task_can_catch_the_error_of_another_by_its_class() -> None:
    ref = failing(LookupError("lost"))

    @ray.remote
    def catches(refs: list[Any]) -> str:
        try:
            ray.get(refs[0])
        except LookupError:
            return "caught"
        return "nothing"

    assert ray.get(catches.remote([ref])) == "caught"


def test_an_exception_that_pickle_cannot_rebuild_is_still_an_error() -> None:
    class Two(Exception):
        def __init__(self, a: str, b: str) -> None:
            super().__init__(a)

    error = error_of(failing_inside(Two))
    assert isinstance(error, exceptions.RayError)
    assert "first" in str(error) or isinstance(error, exceptions.UnserializableException)


def failing_inside(kind: Any) -> Any:
    def fail() -> None:
        raise kind("first", "second")

    return ray.remote(fail).remote()


def test_an_exception_that_cannot_be_pickled_arrives_as_text() -> None:
    @ray.remote
    def fail() -> None:
        import threading

        error = RuntimeError("holds a lock")
        error.lock = threading.Lock()  # type: ignore[attr-defined]
        raise error

    error: Any = error_of(fail.remote())
    assert isinstance(error, exceptions.RayTaskError)
    assert "holds a lock" in str(error)


def test_exceptions_beside_exception_are_delivered_too() -> None:
    class Odd(BaseException): ...

    assert isinstance(error_of(failing(Odd("odd"))), Odd)
    assert isinstance(error_of(failing(StopIteration("over"))), StopIteration)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups are of Python 3.11")
def test_an_exception_group_keeps_its_members() -> None:
    group = ExceptionGroup("both", [ValueError("a"), TypeError("b")])  # noqa: F821
    error: Any = error_of(failing(group))
    assert isinstance(error, ExceptionGroup)  # noqa: F821
    assert [type(each) for each in error.exceptions] == [ValueError, TypeError]


def test_a_keyboard_interrupt_in_a_task_counts_as_cancelled() -> None:
    error = error_of(failing(KeyboardInterrupt(), max_retries=0))
    assert isinstance(error, exceptions.TaskCancelledError)


@pytest.mark.parametrize("leave", [os._exit, sys.exit])
def test_a_task_that_ends_its_process_is_a_crash(leave: Any) -> None:
    @ray.remote(max_retries=0)
    def leaves() -> None:
        leave(1)

    assert isinstance(error_of(leaves.remote()), exceptions.WorkerCrashedError)


def test_a_returned_exception_is_a_value() -> None:
    @ray.remote
    def gives() -> Exception:
        return ValueError("given")

    value = ray.get(gives.remote())
    assert type(value) is ValueError
    assert value.args == ("given",)


def test_an_exception_may_be_put_and_passed() -> None:
    @ray.remote
    def text(error: Exception) -> str:
        return f"{type(error).__name__} {error}"

    assert ray.get(text.remote(ray.put(OSError("disk")))) == "OSError disk"


def test_as_instanceof_cause_gives_the_users_class() -> None:
    error: Any = error_of(failing(ValueError("boom")))
    assert isinstance(error.as_instanceof_cause(), ValueError)
