"""Errors arrive, whatever their classes do when they are pickled."""

from __future__ import annotations

import copyreg
import pickle
import sys
import threading
from typing import Any

import pytest
from tblib.pickling_support import pickle_exception

from ray_on_dask.error_serialization import dumps_error, loads_error
from ray_on_dask.exceptions import (
    ActorDiedError,
    RayError,
    RayTaskError,
    TaskCancelledError,
    UnserializableException,
    from_exception,
)
from ray_on_dask.ids import TaskID


class Importable(Exception):
    def __init__(self, message: str):
        super().__init__(message)
        self.detail = {"a": 1}


class NotReplayable(Exception):
    """Pickles, but is made again by a call without its second argument."""

    def __init__(self, first: int, second: int):
        super().__init__("two arguments")


class NotPicklable(Exception):
    def __init__(self) -> None:
        super().__init__("has a lock")
        self.lock = threading.Lock()


class Malicious(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    def __reduce__(self) -> Any:
        raise RuntimeError("no pickle")


def task_error(error: BaseException) -> RayTaskError:
    try:
        raise error
    except BaseException as caught:
        return from_exception("mod.f", caught, (), "ray::f", 7, "10.0.0.1")


def sent(error: BaseException) -> Any:
    return loads_error(dumps_error(error))


def test_a_task_error_arrives_as_a_dual_with_the_state_of_its_cause() -> None:
    got = sent(task_error(Importable("boom")))
    assert isinstance(got, Importable)
    assert isinstance(got, RayTaskError)
    assert got.detail == {"a": 1}
    assert "ray::f()" in str(got)


def test_a_dual_may_be_sent_as_well() -> None:
    assert isinstance(sent(task_error(Importable("boom")).as_instanceof_cause()), Importable)


def test_each_reading_gives_another_error() -> None:
    """Two threads that raise one instance would share its traceback."""
    data = dumps_error(task_error(Importable("boom")))
    assert loads_error(data) is not loads_error(data)
    assert loads_error(memoryview(data)).args[0].args == ("boom",)


def test_a_class_of_the_drivers_own_script_arrives() -> None:
    local = type("Local", (ValueError,), {"__module__": "__main__"})
    got = sent(task_error(local("x")))
    assert isinstance(got, ValueError)
    assert type(got).__name__ == "RayTaskError(Local)"


def test_errors_of_the_system_arrive_as_they_are() -> None:
    task = TaskID.from_random()
    assert sent(TaskCancelledError(task)).task_id == task
    assert sent(ActorDiedError("killed", "ab")).actor_id == "ab"


def test_a_cause_that_does_not_pickle_arrives_as_text() -> None:
    got = sent(task_error(NotPicklable()))
    assert type(got) is RayTaskError
    assert type(got.cause) is RayError
    assert "has a lock" in str(got.cause)
    assert "ray::f() (pid=7, ip=10.0.0.1)" in str(got).replace("\x1b[36m", "").replace(
        "\x1b[39m", ""
    )
    assert "NotPicklable: has a lock" in str(got)
    assert got.function_name == "mod.f"


def test_a_cause_that_cannot_be_made_again_arrives_as_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(copyreg.dispatch_table, NotReplayable, raising=False)  # tblib's, for Dask
    got = sent(task_error(NotReplayable(1, 2)))
    assert type(got) is UnserializableException
    assert "NotReplayable: two arguments" in str(got)
    assert "test_error_serialization.py" in str(got)


def test_a_class_that_cannot_be_imported_here_arrives_as_text() -> None:
    def loads(data: bytes) -> Any:
        raise ModuleNotFoundError("no module named 'theirs'")

    got = loads_error(dumps_error(task_error(Importable("boom"))), loads)
    assert type(got) is UnserializableException
    assert "Importable: boom" in str(got)


@pytest.mark.parametrize("wrap", [task_error, lambda error: error])
def test_an_exception_that_fails_at_everything_still_arrives(wrap: Any) -> None:
    got = sent(wrap(Malicious()))
    assert isinstance(got, RayError)
    assert "Malicious" in str(got)


def test_the_caller_may_bring_a_pickler_of_its_own() -> None:
    seen: list[Any] = []

    def dumps(value: Any) -> bytes:
        seen.append(value)
        return pickle.dumps(value)

    error = task_error(Importable("boom"))
    assert isinstance(loads_error(dumps_error(error, dumps)), Importable)
    assert seen == [error]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="there are no exception groups")
def test_a_group_arrives_with_what_is_in_it_and_notes_with_what_they_are_on() -> None:
    error = ValueError("noted")
    error.add_note("a note")  # type: ignore[attr-defined,unused-ignore]
    group = ExceptionGroup("many", [error, KeyError("b")])  # noqa: F821
    got = sent(task_error(group))
    assert isinstance(got, ExceptionGroup) and isinstance(got, RayTaskError)  # noqa: F821
    assert [type(one) for one in got.exceptions] == [ValueError, KeyError]
    assert "ValueError: noted" in str(got) and "a note" in str(got)
    matched, rest = got.split(ValueError)
    assert matched is not None and rest is not None


def test_what_an_error_was_raised_from_does_not_keep_it_from_arriving(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As where a task uses Dask: its tblib pickles the chain of causes, too."""
    for kind in (Importable, NotPicklable):
        monkeypatch.setitem(copyreg.dispatch_table, kind, pickle_exception)
    try:
        raise Importable("outer") from NotPicklable()
    except Importable as error:
        inner = error.__cause__
        got = sent(task_error(error))
        assert error.__cause__ is inner
    assert isinstance(got, Importable)


def test_the_text_tells_the_whole_chain_of_causes_whatever_they_are() -> None:
    try:
        try:
            raise NotPicklable()
        except NotPicklable as inner:
            raise Importable("outer") from inner
    except Importable as error:
        got = sent(task_error(error))
    assert isinstance(got, Importable)
    text = str(got)
    assert text.index("NotPicklable: has a lock") < text.index("direct cause")
    assert text.index("direct cause") < text.index("Importable: outer")
