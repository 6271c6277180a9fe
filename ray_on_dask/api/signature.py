"""Checking a call's arguments against a signature, at next to no cost for plain ones."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class CallSignature:
    """What a function or method accepts.

    Parameters
    ----------
    function : callable
        One without a signature (some built-ins) accepts anything here and complains where it runs.
    bound : bool
        Whether the first parameter is given already (``self``).
    """

    __slots__ = ("_bound", "_function", "_least", "_most", "_signature")

    def __init__(self, function: Callable[..., Any], bound: bool = False):
        # Looked at when the first call comes: a function that refers to itself is wrapped here in
        # the middle of its own unpickling, when it has no defaults yet.
        self._function: Callable[..., Any] | None = function
        self._bound = bound
        self._signature: inspect.Signature | None = None
        self._least, self._most = 1, 0

    @classmethod
    def of(cls, signature: inspect.Signature | None) -> CallSignature:
        """One that is known already."""
        made = cls(len)
        made._keep(signature)
        return made

    @property
    def signature(self) -> inspect.Signature | None:
        """What `inspect` knows of it; None if nothing."""
        if self._function is not None:
            self._look(self._function)
        return self._signature

    def _look(self, function: Callable[..., Any]) -> None:
        try:
            signature = inspect.signature(function)
        except (TypeError, ValueError):
            signature = None
        if signature is not None and self._bound:
            parameters = list(signature.parameters.values())[1:]
            signature = signature.replace(parameters=parameters)
        self._keep(signature)

    def _keep(self, signature: inspect.Signature | None) -> None:
        self._signature = signature
        self._least, self._most = self._bounds(signature)
        self._function = None

    @staticmethod
    def _bounds(signature: inspect.Signature | None) -> tuple[int, int]:
        """Numbers of positional arguments that are right without a closer look."""
        if signature is None:
            return 0, 1 << 30
        parameters = signature.parameters.values()
        if any(p.kind is p.KEYWORD_ONLY and p.default is p.empty for p in parameters):
            return 1, 0
        plain = [p for p in parameters if p.kind in _POSITIONAL]
        least = sum(p.default is p.empty for p in plain)
        starred = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        return least, 1 << 30 if starred else len(plain)

    def check(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Raise `TypeError` as the call itself would."""
        if not kwargs and self._least <= len(args) <= self._most:
            return
        if self._function is not None:
            self._look(self._function)
            self.check(args, kwargs)
        elif self._signature is not None:
            self._signature.bind(*args, **kwargs)
