"""Finds what inside a value keeps it from being serialized."""

from __future__ import annotations

import functools
import inspect
import io
import types
from collections.abc import Iterator
from typing import IO, Any

from ray_on_dask.serialization import serialize

_REPR_LENGTH = 200
#: Items of one container that are looked at.
_ITEMS = 100


class FailureTuple:
    """Something that cannot be serialized.

    Parameters
    ----------
    obj : object
        The thing itself.
    path : tuple of str
        How one gets there from the value that was inspected.
    parent : object
        What it was found in.
    """

    def __init__(self, obj: Any, path: tuple[str, ...], parent: Any):
        self.obj = obj
        self.path = path
        self.parent = parent

    def __repr__(self) -> str:
        name = self.path[-1] if self.path else describe(self.obj)
        return (
            f"FailTuple({name} [path={' -> '.join(self.path)}, obj={describe(self.obj)}, "
            f"parent={describe(self.parent)}])"
        )


def inspect_serializability(
    base_obj: Any,
    name: str | None = None,
    depth: int = 3,
    print_file: IO[str] | None = None,
) -> tuple[bool, set[FailureTuple]]:
    """Say whether a value can be serialized, and if not, what inside it cannot.

    Parameters
    ----------
    base_obj : object
        The value: often a function with variables around it.
    name : str, optional
        What to call it in paths.
    depth : int
        How many levels of variables, attributes and items to look into.
    print_file : file, optional
        Where the report goes; standard output by default.

    Returns
    -------
    (bool, set of FailureTuple)
        Whether it can be serialized, and the innermost parts found that cannot.
    """
    walk = _Walk(print_file)
    path = () if name is None else (name,)
    title = f"Can {describe(base_obj)} be serialized?"
    walk.say(0, f"{title}\n{'=' * min(len(title), 80)}")
    serializable = walk.check(base_obj, path, base_obj, depth, 0)
    if not serializable:
        walk.say(0, "What cannot be serialized:")
        for failure in walk.failures:
            walk.say(1, repr(failure))
        walk.say(
            0,
            "There may be more. Make such things inside the function or method that needs them, "
            "or give their class a `__reduce__` or a serializer (`register_serializer`).",
        )
    return serializable, walk.failures


def trace(value: Any) -> str:
    """The report of `inspect_serializability` as text."""
    report = io.StringIO()
    inspect_serializability(value, print_file=report)
    return report.getvalue()


def describe(value: Any) -> str:
    """A `repr` that is not long and never fails."""
    try:
        text = repr(value)
    except Exception:
        text = f"<{type(value).__name__} at {id(value):#x}>"
    return text if len(text) <= _REPR_LENGTH else text[: _REPR_LENGTH - 3] + "..."


class _Walk:
    """One search: depth first, each object once."""

    def __init__(self, file: IO[str] | None):
        self.failures: set[FailureTuple] = set()
        self._file = file
        #: Objects that were looked at, kept so that their ids stay theirs.
        self._seen: dict[int, Any] = {}

    def say(self, level: int, text: str) -> None:
        print("    " * level + text, file=self._file)

    def check(self, value: Any, path: tuple[str, ...], parent: Any, depth: int, level: int) -> bool:
        """Whether `value` can be serialized; if not, its culprits are in `failures` then."""
        self._seen[id(value)] = value
        try:
            serialize(value)
        except Exception as error:
            self.say(level, f"cannot be serialized: {type(error).__name__}: {error}")
        else:
            return True
        if depth <= 0 or not self._check_parts(value, path, depth, level):
            self.failures.add(FailureTuple(value, path, parent))
        return False

    def _check_parts(self, value: Any, path: tuple[str, ...], depth: int, level: int) -> bool:
        """Whether one of its parts is to blame."""
        found = False
        for name, part in _parts_of(value):
            if id(part) in self._seen:
                continue
            self.say(level + 1, f"{name} = {describe(part)}")
            if not self.check(part, (*path, name), value, depth - 1, level + 2):
                found = True
        return found


def _parts_of(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, types.MethodType):
        yield "__self__", value.__self__
        yield "__func__", value.__func__
    elif isinstance(value, functools.partial):
        yield from (("func", value.func), ("args", value.args), ("keywords", value.keywords))
    elif inspect.isfunction(value):
        yield from _variables_of(value)
    elif isinstance(value, dict):
        yield from ((f"[{describe(key)}]", item) for key, item in _some(value.items()))
        yield from ((f"key {describe(key)}", key) for key in _some(value))
    elif isinstance(value, (list, tuple)):
        yield from ((f"[{i}]", item) for i, item in enumerate(_some(value)))
    elif isinstance(value, (set, frozenset)):
        yield from ((f"{{{describe(item)}}}", item) for item in _some(value))
    yield from _attributes_of(value)


def _some(items: Any) -> list[Any]:
    return [item for item, _ in zip(items, range(_ITEMS), strict=False)]


def _variables_of(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    for name, cell in cells:
        try:
            yield name, cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    for name in _global_names(function.__code__):
        if name in function.__globals__:
            yield name, function.__globals__[name]
    yield from ((f"default {i}", v) for i, v in enumerate(function.__defaults__ or ()))
    yield from (function.__kwdefaults__ or {}).items()


def _global_names(code: types.CodeType) -> list[str]:
    names = dict.fromkeys(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names.update(dict.fromkeys(_global_names(constant)))
    return list(names)


def _attributes_of(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, types.ModuleType):
        return
    attributes = dict(getattr(value, "__dict__", {}))
    for cls in type(value).__mro__ if not isinstance(value, type) else ():
        slots = vars(cls).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(value, name):
                attributes.setdefault(name, getattr(value, name))
    for name, part in attributes.items():
        if name not in ("__dict__", "__weakref__", "__wrapped__"):
            yield str(name), part
