"""What all errors have in common: they pickle, whatever their `__init__` takes."""

from __future__ import annotations

from typing import Any


class RayError(Exception):
    """The base of every error that this package raises on its own account."""

    #: The text of an error that was made without arguments.
    DEFAULT = ""

    def __str__(self) -> str:
        return super().__str__() if self.args else self.DEFAULT

    def __reduce__(self) -> tuple[Any, ...]:
        # Not by calling the class on `args`, as exceptions are pickled by default: that fails
        # for keyword arguments and wherever `__init__` makes a message of its arguments.
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(cls: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]) -> Any:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error
