"""Ray's marks of how stable an interface is, for programs that use them on their own.

They say so in the docstring, and change nothing else; what is deprecated warns when it is called.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from typing import Any


class RayDeprecationWarning(DeprecationWarning):
    """Something that is marked as `Deprecated` was used."""


def PublicAPI(*args: Any, stability: str = "stable", api_group: str = "Others") -> Any:
    """Mark an interface as public; its stability is "stable", "beta" or "alpha"."""
    if stability not in ("stable", "beta", "alpha"):
        raise ValueError(f"stability is 'stable', 'beta' or 'alpha', not {stability!r}")
    note = "" if stability == "stable" else f"{stability}: this interface may change."
    return _decorator(args, note, stability)


def DeveloperAPI(*args: Any) -> Any:
    """Mark an interface as one for developers of libraries."""
    return _decorator(args, "For developers: this interface may change.", "developer")


def Deprecated(*args: Any, message: str = "", warning: bool = False) -> Any:
    """Mark an interface as deprecated; with `warning=True`, calls of it warn."""
    if args and callable(args[0]):
        return _deprecate(args[0], "", False)
    return lambda wrapped: _deprecate(wrapped, message, warning)


def _decorator(args: tuple[Any, ...], note: str, kind: str) -> Any:
    def mark(wrapped: Any) -> Any:
        if note:
            wrapped.__doc__ = f"{inspect.getdoc(wrapped) or ''}\n\n{note}".strip()
        wrapped._annotated = getattr(wrapped, "__name__", "")
        wrapped._annotated_type = kind
        return wrapped

    return mark(args[0]) if args and callable(args[0]) else mark


def _deprecate(wrapped: Any, message: str, warning: bool) -> Any:
    text = f"Deprecated: {message}" if message else "Deprecated: it may be removed."
    marked = _decorator((wrapped,), text, "deprecated")
    if not warning:
        return marked
    told = f"{wrapped.__qualname__}: {text}"
    if inspect.isclass(wrapped):
        setattr(wrapped, "__init__", _warning(getattr(wrapped, "__init__"), told))  # noqa: B009, B010
        return wrapped
    return _warning(marked, told)


def _warning(function: Any, text: str) -> Any:
    @functools.wraps(function)
    def warned(*args: Any, **kwargs: Any) -> Any:
        warnings.warn(text, RayDeprecationWarning, stacklevel=2)
        return function(*args, **kwargs)

    return warned
