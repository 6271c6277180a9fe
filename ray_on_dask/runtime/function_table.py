"""Functions by the hash of their pickle: sent once to each executor, unpickled once in it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ray_on_dask.serialization import deserialize, explain_failure, serialize, to_bytes
from ray_on_dask.wire.messages import Function, Result


@dataclass(slots=True, eq=False)
class PreparedCall:
    """What all calls of a remote function with the same options have in common."""

    function: bytes
    #: Process title and log name.
    name: str
    returns: int
    flags: int
    retries: int
    #: Scheduling class.
    key: int
    backpressure: int = 0
    #: `retry_exceptions`: all, none, or these.
    retry_exceptions: bool | tuple[type[BaseException], ...] = False
    #: Placement group that children inherit.
    captures: bool = False
    placement_group: bytes = b""
    #: Refs in the function's closure: they live as long as tasks that may still run.
    closure: Sequence[Any] = ()

    def retries_on(self, result: Result) -> bool:
        """Whether a failed attempt is of a kind that is tried again."""
        wanted = self.retry_exceptions
        if not wanted or result.error_type == "":
            return False
        if isinstance(wanted, bool):
            return wanted
        from ray_on_dask.error_serialization import loads_error

        return isinstance(loads_error(result.values[0].data), wanted)


def pickle_function(function: Any) -> tuple[bytes, list[Any]]:
    """A function or class as it is sent, and the refs in its closure; `TypeError` if it cannot."""
    try:
        serialized = serialize(function)
    except Exception as error:
        raise explain_failure(function, "function", error) from error
    return to_bytes(serialized), list(serialized.inner)


class Functions:
    """The functions that one process has defined or been sent."""

    def __init__(self) -> None:
        self._pickled: dict[bytes, tuple[str, bytes]] = {}
        self._loaded: dict[bytes, Callable[..., Any]] = {}

    def define(self, name: str, pickled: bytes) -> bytes:
        """The id of a pickled function, which is known from now on."""
        id = hashlib.blake2b(pickled, digest_size=16).digest()
        self._pickled[id] = (name, pickled)
        return id

    def pickled(self, id: bytes) -> bytes:
        """A function as it is sent."""
        return self._pickled[id][1]

    def message(self, id: bytes) -> Function:
        """The message that makes a function known to an executor."""
        name, pickled = self._pickled[id]
        return Function(id, name, pickled)

    def receive(self, message: Function) -> None:
        """An owner makes a function known."""
        self._pickled[message.id] = (message.name, message.pickled)

    def name(self, id: bytes) -> str:
        """Module and qualified name of a function."""
        return self._pickled[id][0]

    def load(self, id: bytes) -> Callable[..., Any]:
        """The function itself."""
        function = self._loaded.get(id)
        if function is None:
            function = self._loaded[id] = deserialize(self._pickled[id][1])
        return function
