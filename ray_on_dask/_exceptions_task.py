"""What `get` raises for a failed task: an error that is also of the class that the task raised.

A task that raises `KeyError` fails with a `RayTaskError` that holds the
`KeyError` as its cause. The caller is given neither of them alone but a
*dual*, an instance of both classes, so that each of these catches it::

    except KeyError: ...
    except RayTaskError: ...

The dual class is made on the spot, once for each class of cause. A dual is
filled without running any `__init__` of the user's: fields of the cause are
copied, whether they lie in its `__dict__` or in slots (`OSError.errno`).
"""

from __future__ import annotations

import os
import re
import types
import weakref
from collections.abc import Iterable
from typing import Any

from ray_on_dask._exceptions_base import RayError

_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_TRACEBACK_LINE = "Traceback (most recent call last):"
_CHAIN_LINES = (
    "The above exception was the direct cause of the following exception:",
    "During handling of the above exception, another exception occurred:",
)
_HEADER = re.compile(r"ray::[^\n\x1b]*?\(\)(?= \(pid=)")
_COLORED_HEADER = re.compile(r"\x1b\[36m(ray::[^\n\x1b]*)\x1b\[39m")


class RayTaskError(RayError):
    """A task or actor method raised an exception.

    Parameters
    ----------
    function_name : str
        Module and name of the function.
    traceback_str : str
        The traceback as the executor formatted it.
    cause : BaseException
        What the user's code raised.
    proctitle : str, optional
        Title of the process while it ran the task; `ray::<function_name>` by default.
    pid : int, optional
        Of the process that ran the task; by default this one.
    ip : str, optional
        Of its host.
    actor_repr : str, optional
        `repr` of the actor, if it was a method.
    actor_id : str, optional
        The actor's id in hex.
    """

    def __init__(
        self,
        function_name: str,
        traceback_str: str,
        cause: BaseException,
        proctitle: str | None = None,
        pid: int | None = None,
        ip: str | None = None,
        actor_repr: str | None = None,
        actor_id: str | None = None,
    ):
        super().__init__(function_name, traceback_str, cause, proctitle, pid, ip)
        self.function_name = function_name
        self.traceback_str = traceback_str
        self.cause = cause
        self.proctitle = proctitle or f"ray::{function_name}"
        self.pid = pid or os.getpid()
        self.ip = ip
        self.actor_repr = actor_repr
        self._actor_id = actor_id

    def make_dual_exception_instance(self) -> RayTaskError:
        """An instance of both `RayTaskError` and the class of the cause.

        Raises
        ------
        TypeError
            If the class of the cause cannot be subclassed.
        """
        return _make_dual(self)

    def as_instanceof_cause(self) -> RayTaskError:
        """The error to raise at the caller: the dual, or this error where no dual can be made."""
        if isinstance(self, type(self.cause)):
            return self
        try:
            return self.make_dual_exception_instance()
        except Exception as reason:
            _warn_no_dual(self, reason)
            return self

    def __str__(self) -> str:
        text = _with_headers(self.traceback_str.strip("\n"), self._header())
        return _HEADER.sub("\x1b[36m\\g<0>\x1b[39m", text) if _color_wanted() else text

    def _header(self) -> str:
        where = [f"pid={self.pid}"]
        where += [f"ip={self.ip}"] if self.ip else []
        if self._actor_id is not None or self.actor_repr is not None:
            where += [f"actor_id={self._actor_id}", f"repr={self.actor_repr}"]
        return f"{self.proctitle}() ({', '.join(where)})"


# -- the text ----------------------------------------------------------------------------


def _color_wanted() -> bool:
    return not os.environ.get("NO_COLOR") and os.environ.get("RAY_COLOR_PREFIX") != "0"


def _with_headers(text: str, header: str) -> str:
    """`text` with `header` in place of each line that opens a traceback of this task."""
    lines = text.split("\n")
    opens = [
        i
        for i, line in enumerate(lines)
        if line == _TRACEBACK_LINE and (i == 0 or (i > 1 and lines[i - 2] in _CHAIN_LINES))
    ]
    for i in opens:
        lines[i] = header
    return "\n".join(lines if opens else [header, *lines])


def _cause_of(error: BaseException) -> BaseException:
    while isinstance(error, RayTaskError):
        error = error.cause
    return error


def _format(error: BaseException, skip: tuple[str, ...]) -> str:
    from traceback import TracebackException

    formatted = TracebackException(type(error), error, error.__traceback__)
    _drop_frames(formatted, skip, set())
    return _COLORED_HEADER.sub(r"\1", "".join(formatted.format()))


def _drop_frames(formatted: Any, skip: tuple[str, ...], seen: set[int]) -> None:
    if formatted is None or id(formatted) in seen:
        return
    seen.add(id(formatted))
    formatted.stack[:] = [f for f in formatted.stack if not f.filename.startswith(skip)]
    inner = getattr(formatted, "exceptions", None) or ()
    for other in (formatted.__cause__, formatted.__context__, *inner):
        _drop_frames(other, skip, seen)


def from_exception(
    function_name: str,
    exc: BaseException,
    tb_skip_files: Iterable[str] = (),
    proctitle: str | None = None,
    pid: int | None = None,
    ip: str | None = None,
    actor_repr: str | None = None,
    actor_id: str | None = None,
) -> RayTaskError:
    """The `RayTaskError` for `exc`, which user code has just raised.

    The traceback is formatted here, where its source files are, without the
    frames of this package. If `exc` came out of a `get` of another task's
    failure, the innermost cause is kept and the text shows both tasks.

    Parameters
    ----------
    function_name, proctitle, pid, ip, actor_repr, actor_id
        As for `RayTaskError`.
    exc : BaseException
        With its traceback.
    tb_skip_files : iterable of str
        Files whose frames are left out too; each entry is a path or the start of one.
    """
    text = _format(exc, (_PACKAGE, *tb_skip_files))
    return RayTaskError(
        function_name, text, _cause_of(exc), proctitle, pid, ip, actor_repr, actor_id
    )


def argument_error(
    function_name: str,
    error: BaseException,
    proctitle: str | None = None,
    pid: int | None = None,
    ip: str | None = None,
    actor_repr: str | None = None,
    actor_id: str | None = None,
) -> RayTaskError:
    """The error of a task that was not run because the argument it waited for is `error`.

    Its cause is the cause of `error`, so it is caught as what went wrong first.
    """
    kind = type(error)
    shown = _COLORED_HEADER.sub(r"\1", str(error))
    text = (
        f"{_TRACEBACK_LINE}\n"
        "  At least one of the input arguments for this task could not be computed:\n"
        f"{kind.__module__}.{kind.__qualname__}: {shown}\n"
    )
    cause = _cause_of(error)
    return RayTaskError(function_name, text, cause, proctitle, pid, ip, actor_repr, actor_id)


# -- the dual ----------------------------------------------------------------------------

#: {class of cause: its dual class}. A dual that no instance needs may go, and its key with it.
_DUALS: weakref.WeakValueDictionary[type, type[Any]] = weakref.WeakValueDictionary()
_HEAP_TYPE = 1 << 9
_FIELD_TYPES = (types.MemberDescriptorType, types.GetSetDescriptorType)


def _make_dual(error: RayTaskError) -> RayTaskError:
    cause = error.cause
    dual = _new_instance(_dual_class(type(cause)), cause)
    _copy_fields(cause, dual)
    vars(BaseException)["args"].__set__(dual, (cause,))  # the class may have a property so called
    dual.__dict__["_ray_task_error"] = error
    return dual


def _dual_class(cause_type: type[BaseException]) -> type[Any]:
    dual = _DUALS.get(cause_type)
    if dual is None:
        name = f"RayTaskError({cause_type.__name__})"
        members = {**_DUAL_MEMBERS, "__qualname__": name}
        dual = types.new_class(
            name, (RayTaskError, cause_type), {}, lambda namespace: namespace.update(members)
        )
        dual = _DUALS.setdefault(cause_type, dual)
    return dual


def _new_instance(dual: type[Any], cause: Any) -> Any:
    """An empty dual, made by the nearest class written in C: its `__new__` asks for no more."""
    native: Any = next(c for c in type(cause).__mro__ if not c.__flags__ & _HEAP_TYPE)
    if native.__name__ == "BaseExceptionGroup":
        return native.__new__(dual, cause.message, cause.exceptions)
    try:
        return native.__new__(dual)
    except TypeError:  # `MemoryError` makes no instances of classes that have other bases too
        return Exception.__new__(dual)


def _copy_fields(cause: BaseException, dual: BaseException) -> None:
    for cls in type(cause).__mro__:
        if cls is BaseException:
            break
        for name, member in vars(cls).items():
            if isinstance(member, _FIELD_TYPES) and not name.startswith("__"):
                _copy_field(cause, dual, name)
    dual.__dict__.update(cause.__dict__)


def _copy_field(cause: BaseException, dual: BaseException, name: str) -> None:
    try:
        # The class of the cause may forbid setting attributes in a `__setattr__` of its own.
        object.__setattr__(dual, name, getattr(cause, name))
    except (AttributeError, TypeError):
        return  # an empty slot, or a field that was filled on creation


def _warn_no_dual(error: RayTaskError, reason: Exception) -> None:
    import logging

    logging.getLogger("ray_on_dask").warning(
        "The error of %s is a plain RayTaskError, since no subclass of %s can be made: %s",
        error.function_name,
        type(error.cause),
        reason,
    )


def _dual_getattr(self: Any, name: str) -> Any:
    error = self.__dict__.get("_ray_task_error")
    if error is None or name.startswith("__"):
        raise AttributeError(name)
    return getattr(error.cause, name)


def _remake(error: RayTaskError) -> RayTaskError:
    return error.as_instanceof_cause()


_DUAL_MEMBERS: dict[str, Any] = {
    "__module__": "ray_on_dask.exceptions",
    "__doc__": "A failed task's error that is also an instance of what the task raised.",
    "__init__": lambda self, *args: None,
    "__getattr__": _dual_getattr,
    "__str__": lambda self: str(self._ray_task_error),
    "__reduce__": lambda self: (_remake, (self._ray_task_error,)),
    "__reduce_ex__": lambda self, protocol: (_remake, (self._ray_task_error,)),
    "cause": property(lambda self: self._ray_task_error.cause),
    "as_instanceof_cause": lambda self: self,
    "make_dual_exception_instance": lambda self: _make_dual(self._ray_task_error),
}
