"""What a failed task's error is an instance of, what it says, and that it can be sent on."""

from __future__ import annotations

import copy
import gc
import inspect
import pickle
import subprocess
import sys
from typing import Any

import cloudpickle
import pytest

from ray_on_dask import exceptions
from ray_on_dask.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    GetTimeoutError,
    ObjectLostError,
    OwnerDiedError,
    RayActorError,
    RayError,
    RaySystemError,
    RayTaskError,
    TaskCancelledError,
    WorkerCrashedError,
    argument_error,
    from_exception,
)
from ray_on_dask.ids import TaskID


class Failure(ValueError):
    """A user's exception with state of its own."""

    code = 1

    def __init__(self, message: str, b: int = 2):
        super().__init__(message)
        self.b = b
        self.code = 5

    def doubled(self) -> int:
        return self.b * 2


class Slotted(Exception):
    __slots__ = ("where",)


class Unwilling(Exception):
    """Cannot be subclassed any more."""

    def __init_subclass__(cls) -> None:
        raise TypeError("no subclasses")


class NeedsTwo(Exception):
    def __new__(cls, first: int, second: int) -> NeedsTwo:
        return super().__new__(cls, first, second)

    def __init__(self, first: int, second: int):
        super().__init__("two")
        self.first = first


def fail(error: BaseException) -> None:
    raise error


def task_error(error: BaseException, name: str = "f", **how: Any) -> RayTaskError:
    """As an executor makes it: raise, catch, format."""
    try:
        fail(error)
    except BaseException as caught:
        return from_exception(f"mod.{name}", caught, (), f"ray::{name}", 7, "10.0.0.1", **how)
    raise AssertionError


def dual(error: BaseException, name: str = "f", **how: Any) -> Any:
    return task_error(error, name, **how).as_instanceof_cause()


@pytest.fixture(autouse=True)
def no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")


# -- the dual ----------------------------------------------------------------------------


@pytest.mark.parametrize("catch", [Failure, ValueError, RayTaskError, RayError])
def test_a_task_error_is_caught_as_its_cause_and_as_a_task_error(catch: type[Exception]) -> None:
    with pytest.raises(catch):
        raise dual(Failure("boom"))


def test_the_class_of_a_dual_has_the_name_module_and_bases_that_ray_gives_it() -> None:
    kind = type(dual(Failure("boom")))
    assert (kind.__name__, kind.__module__) == ("RayTaskError(Failure)", "ray_on_dask.exceptions")
    assert kind.__mro__ == (
        kind, RayTaskError, RayError, Failure, ValueError, Exception, BaseException, object,
    )  # fmt: skip


def test_a_dual_gives_its_cause_and_what_the_cause_has() -> None:
    error = dual(Failure("boom", b=7))
    assert isinstance(error.cause, Failure)
    assert error.cause.args == ("boom",)
    assert (error.b, error.code, error.doubled()) == (7, 5, 14)
    error.cause.later = 3
    assert error.later == 3


def test_a_dual_has_the_args_and_repr_of_ray_and_no_fields_of_the_plain_error() -> None:
    error = dual(Failure("boom"))
    assert error.args == (error.cause,)
    assert repr(error) == "RayTaskError(Failure)(Failure('boom'))"
    assert error.__cause__ is None
    assert error.__context__ is None
    for name in ("function_name", "pid", "traceback_str"):
        with pytest.raises(AttributeError):
            getattr(error, name)


def test_the_dual_class_is_made_once_per_class_of_cause() -> None:
    assert type(dual(Failure("a"))) is type(dual(Failure("b")))


def test_dual_classes_of_forgotten_causes_are_forgotten() -> None:
    """Classes pickled by value come anew in every job; a plain cache would keep them all."""
    from ray_on_dask import _exceptions_task

    for _ in range(20):
        dual(type("Passing", (Exception,), {})("x"))
    gc.collect()
    assert [c for c in _exceptions_task._DUALS if c.__name__ == "Passing"] == []


@pytest.mark.parametrize("send", [pickle, cloudpickle])
def test_a_dual_survives_pickling(send: Any) -> None:
    sent = dual(Failure("boom", b=9))
    got = send.loads(send.dumps(sent))
    assert type(got) is type(sent)
    assert (str(got), got.b, got.cause.args) == (str(sent), 9, ("boom",))


def test_a_dual_can_be_copied() -> None:
    assert copy.copy(dual(Failure("boom", b=9))).b == 9


def test_fields_that_lie_in_slots_are_those_of_the_cause() -> None:
    """Class-level descriptors win over `__getattr__`, so falling through would give None."""
    error = dual(OSError(2, "no such", "file"))
    assert isinstance(error, FileNotFoundError)
    assert (error.errno, error.strerror, error.filename) == (2, "no such", "file")
    assert dual(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad")).encoding == "utf-8"
    assert dual(StopIteration(3)).value == 3
    assert dual(SystemExit(4)).code == 4
    slotted = Slotted()
    slotted.where = "here"
    assert dual(slotted).where == "here"


def test_neither_new_nor_init_of_the_user_runs_for_a_dual() -> None:
    error = dual(NeedsTwo(1, 2))
    assert isinstance(error, NeedsTwo)
    assert error.first == 1


@pytest.mark.parametrize("cause", [KeyboardInterrupt(), SystemExit(1), GeneratorExit()])
def test_exceptions_outside_exception_become_duals_too(cause: BaseException) -> None:
    error = dual(cause)
    assert isinstance(error, type(cause))
    assert isinstance(error, Exception)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups came with Python 3.11")
def test_an_exception_group_keeps_its_exceptions_and_can_be_split() -> None:
    error = dual(ExceptionGroup("several", [ValueError(1), KeyError(2)]))  # noqa: F821
    assert [type(e) for e in error.exceptions] == [ValueError, KeyError]
    assert len(error.split(ValueError)[0].exceptions) == 1
    assert str(error).startswith("ray::f() (pid=7, ip=10.0.0.1)\n")
    assert "KeyError: 2" in str(error)


def test_a_cause_that_is_a_base_of_the_task_error_needs_no_dual() -> None:
    plain = task_error(Exception("plain"))
    assert plain.as_instanceof_cause() is plain
    assert plain.args[0] == "mod.f"
    assert plain.args[2:] == (plain.cause, "ray::f", 7, "10.0.0.1")


def test_a_cause_that_cannot_be_subclassed_gives_the_plain_error_and_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    plain = task_error(Unwilling("x"))
    assert plain.as_instanceof_cause() is plain
    assert "Unwilling" in caplog.text
    with pytest.raises(TypeError):
        plain.make_dual_exception_instance()


def test_a_dual_is_its_own_instance_of_the_cause() -> None:
    error = dual(Failure("x"))
    assert error.as_instanceof_cause() is error
    assert isinstance(error.make_dual_exception_instance(), Failure)


# -- the text ----------------------------------------------------------------------------


def test_the_text_names_the_task_and_shows_the_users_frames_only() -> None:
    lines = str(dual(Failure("boom"))).splitlines()
    assert lines[0] == "ray::f() (pid=7, ip=10.0.0.1)"
    assert lines[-1].endswith("Failure: boom")
    assert any(line.strip().startswith("File") and "in fail" in line for line in lines)


def test_the_text_of_a_method_names_the_actor() -> None:
    error = dual(KeyError("k"), "A.m", actor_repr="<A>", actor_id="ab")
    first = str(error).splitlines()[0]
    assert first == "ray::A.m() (pid=7, ip=10.0.0.1, actor_id=ab, repr=<A>)"


def test_frames_of_the_package_and_of_named_files_are_left_out() -> None:
    def through_the_package() -> None:
        TaskID.from_hex("not hex")

    try:
        through_the_package()
    except ValueError as caught:
        kept = from_exception("f", caught).traceback_str
        skipped = from_exception("f", caught, (__file__,)).traceback_str
    assert "through_the_package" in kept
    assert "ids.py" not in kept
    assert "File" not in skipped


@pytest.mark.parametrize(
    ("variable", "value", "colored"),
    [("NO_COLOR", "1", False), ("RAY_COLOR_PREFIX", "0", False), ("RAY_COLOR_PREFIX", "1", True)],
)
def test_the_name_of_the_task_is_cyan_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, colored: bool
) -> None:
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv(variable, value)
    assert ("\x1b[36mray::f()\x1b[39m (pid=7" in str(dual(Failure("boom")))) is colored


def test_color_is_for_the_reader_to_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    """Text made where color is on, as inside an outer task's traceback, carries none itself."""
    monkeypatch.delenv("NO_COLOR")
    outer = task_error(dual(Failure("boom"), "inner"), "outer")
    assert "\x1b" not in outer.traceback_str
    assert str(outer).count("\x1b[36m") == 2


def test_an_error_got_from_another_task_keeps_the_innermost_cause_and_shows_both() -> None:
    inner = dual(Failure("boom", b=3), "inner")
    outer = dual(inner, "outer")
    assert isinstance(outer, Failure)
    assert outer.cause is inner.cause
    text = str(outer)
    assert text.startswith("ray::outer() (pid=7, ip=10.0.0.1)\n")
    assert "ray_on_dask.exceptions.RayTaskError(Failure): ray::inner() (pid=7" in text


def test_each_error_of_a_chain_is_headed_by_the_task() -> None:
    try:
        try:
            1 / 0  # noqa: B018
        except ZeroDivisionError as first:
            raise Failure("second") from first
    except Failure as caught:
        text = str(from_exception("f", caught, (), "ray::f", 7))
    assert text.count("ray::f() (pid=7)") == 2
    assert "Traceback" not in text


def test_a_traceback_inside_a_message_is_left_alone() -> None:
    text = str(dual(Failure("said:\n\nTraceback (most recent call last):\n  old")))
    assert text.count("ray::f()") == 1
    assert "Traceback (most recent call last):\n  old" in text


def test_a_failed_argument_fails_the_consumer_as_the_producer_failed() -> None:
    producer = dual(Failure("boom"), "producer")
    consumer = argument_error("consumer", producer, "ray::consumer", 8).as_instanceof_cause()
    assert isinstance(consumer, Failure)
    assert consumer.cause is producer.cause
    lines = str(consumer).splitlines()
    assert lines[0] == "ray::consumer() (pid=8)"
    assert lines[1].strip().startswith("At least one of the input arguments for this task")
    assert "RayTaskError(Failure): ray::producer()" in lines[2]


def test_an_argument_lost_with_its_process_is_a_task_error_of_that_class() -> None:
    error = argument_error("f", WorkerCrashedError("gone")).as_instanceof_cause()
    assert isinstance(error, WorkerCrashedError)
    assert isinstance(error, RayTaskError)
    assert "gone" in str(error)


# -- the other errors --------------------------------------------------------------------


def test_the_builtin_classes_catch_what_ray_lets_them_catch() -> None:
    pairs = [
        ("GetTimeoutError", TimeoutError),
        ("RayChannelTimeoutError", TimeoutError),
        ("ReferenceCountingAssertionError", AssertionError),
        ("ActorAlreadyExistsError", ValueError),
        ("ActorHandleNotFoundError", ValueError),
    ]
    for name, builtin in pairs:
        assert issubclass(getattr(exceptions, name), (builtin,)), name


def test_cancelled_errors_name_the_task_if_there_is_one() -> None:
    assert str(TaskCancelledError()) == ""
    task = TaskID.from_random()
    error = TaskCancelledError(task, "Because.")
    assert (error.task_id, str(error)) == (task, f"Task: {task!r} was cancelled. Because.")


def test_actor_errors_tell_which_actor_and_how() -> None:
    unavailable = ActorUnavailableError("it restarts", b"\x01" * 16)
    assert unavailable.actor_id == "01" * 16
    assert "it restarts" in unavailable.error_msg
    died = ActorDiedError(task_error(Failure("boom"), "A.__init__"), "ab")
    assert (died.actor_id, died.actor_init_failed, died.preempted) == ("ab", True, False)
    assert "Failure: boom" in str(died)
    assert not isinstance(died, Failure)
    assert str(ActorDiedError("killed")) == "killed"
    assert str(ActorDiedError()) == ActorDiedError().error_msg != ""
    assert isinstance(died, RayActorError)


def test_errors_of_objects_name_the_object_and_where_it_was_made() -> None:
    error = OwnerDiedError("abcd", None, "script.py:3")
    assert (error.object_ref_hex, error.owner_address, error.call_site) == (
        "abcd", None, "script.py:3",
    )  # fmt: skip
    assert "abcd" in str(error)
    assert "script.py:3" in str(error)
    assert isinstance(error, ObjectLostError)


def test_names_of_earlier_eras_are_the_same_classes() -> None:
    assert exceptions.RayTimeoutError is GetTimeoutError
    assert exceptions.RayWorkerError is WorkerCrashedError
    assert exceptions.RayConnectionError is RaySystemError


ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "RayTaskError": ("f", "text", ValueError(1)),
    "ObjectLostError": ("ab", None, ""),
    "ActorUnavailableError": ("why", b"\x01" * 16),
}


@pytest.mark.parametrize("name", sorted(exceptions.__all__))
def test_every_error_says_something_and_survives_pickling(name: str) -> None:
    cls = getattr(exceptions, name)
    if not inspect.isclass(cls):
        pytest.skip("a function")
    needed = next((ARGUMENTS[c.__name__] for c in cls.__mro__ if c.__name__ in ARGUMENTS), ("m",))
    error = cls(*needed)
    got = pickle.loads(pickle.dumps(error))
    assert type(got) is cls
    assert cls.__module__ == "ray_on_dask.exceptions"
    assert str(got) == str(error) != ""


def test_errors_made_by_keyword_survive_pickling() -> None:
    got = pickle.loads(pickle.dumps(RayActorError(actor_id="ab", preempted=True)))
    assert (got.actor_id, got.preempted) == ("ab", True)


def test_the_module_needs_the_standard_library_alone() -> None:
    code = (
        "import sys, ray_on_dask.exceptions;"
        "print([m for m in ('dask', 'numpy', 'cloudpickle', 'msgspec', 'logging', 'traceback')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]"
