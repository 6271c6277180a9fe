"""Calls in local mode: arguments copied, run on the spot, the outcome put into refs."""

from __future__ import annotations

import inspect
import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ray_on_dask.error_serialization import dumps_error, dumps_error_and_refs
from ray_on_dask.exceptions import WorkerCrashedError, argument_error, from_exception
from ray_on_dask.ids import index_bytes
from ray_on_dask.runtime import current
from ray_on_dask.runtime.local_refs import Packed, failure
from ray_on_dask.runtime.object_ref import Entry, ObjectRef, ref_to
from ray_on_dask.serialization import deserialize, explain_failure, serialize
from ray_on_dask.wire import messages as m

if TYPE_CHECKING:
    from ray_on_dask.runtime.local_mode import LocalSession

_IP = "127.0.0.1"


@dataclass(eq=False)
class LocalCall:
    """One call of a function or a method."""

    id: bytes
    function: Callable[..., Any]
    name: str
    function_name: str
    #: Number of values, and flags STREAM and DYNAMIC.
    returns: tuple[int, int] = (1, 0)
    retries: int = 0
    exceptions: bool | Sequence[type[BaseException]] = False
    resources: dict[str, int] = field(default_factory=dict)
    #: The actor that it belongs to.
    actor: Any = None

    @property
    def streams(self) -> bool:
        """Whether it makes a generator of refs."""
        return bool(self.returns[1] & m.STREAM)

    def tries_again(self, error: BaseException) -> bool:
        """Whether the exception is one for which the call is made again; counts it."""
        wanted = self.exceptions
        if not wanted or not self.retries or not isinstance(error, Exception):
            return False
        if wanted is not True and not isinstance(error, tuple(wanted or ())):
            return False
        self.retries -= 1
        return True


@dataclass
class PackedArguments:
    """Arguments as they were at the call: bytes, or a ref for what was one."""

    args: list[bytes | ObjectRef[Any]]
    kwargs: dict[str, bytes | ObjectRef[Any]]
    #: Refs inside of them.
    inner: list[ObjectRef[Any]]

    def pending(self) -> list[Entry]:
        """Entries of refs that are not there yet."""
        given = [*self.args, *self.kwargs.values()]
        return [
            ref._entry
            for ref in given
            if isinstance(ref, ObjectRef) and ref._entry.kind == m.PENDING
        ]


class ArgumentFailed(Exception):
    """The call cannot be made: an argument's task has failed, as `error` tells."""

    def __init__(self, error: BaseException):
        super().__init__(str(error))
        self.error = error


class LocalCalls:
    """Runs calls."""

    def __init__(self, session: LocalSession):
        self.session = session

    # -- arguments ------------------------------------------------------------------------

    def pack(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> PackedArguments:
        """Copy arguments; `TypeError` naming what cannot be pickled."""
        inner: list[ObjectRef[Any]] = []
        return PackedArguments(
            [self._pack_one(arg, inner) for arg in args],
            {name: self._pack_one(arg, inner) for name, arg in kwargs.items()},
            inner,
        )

    def _pack_one(self, arg: Any, inner: list[ObjectRef[Any]]) -> bytes | ObjectRef[Any]:
        if isinstance(arg, ObjectRef):
            return arg
        try:
            packed = self.session.references.packed(serialize(arg))
        except Exception as error:
            raise explain_failure(arg, "argument", error, " for a task or actor") from error
        inner.extend(packed.inner)
        return packed.data

    def unpack(self, packed: PackedArguments) -> tuple[list[Any], dict[str, Any]]:
        """Copies of one's own; `ArgumentFailed` if one could not be made."""
        args = [self._unpack_one(arg) for arg in packed.args]
        return args, {name: self._unpack_one(arg) for name, arg in packed.kwargs.items()}

    def _unpack_one(self, arg: bytes | ObjectRef[Any]) -> Any:
        if isinstance(arg, bytes):
            return deserialize(arg)
        try:
            return self.session.get(arg)
        except Exception as error:
            raise ArgumentFailed(error) from error

    # -- running --------------------------------------------------------------------------

    def run(self, call: LocalCall, packed: PackedArguments) -> Any:
        """Run a call now; its ref, list of refs, generator of refs, or None."""
        if call.streams:
            from ray_on_dask.runtime.local_generators import LocalGenerator

            return LocalGenerator(self.session, call, packed)
        outcome = self.outcome(call, packed)
        entries = self.entries(call)
        self.fill(entries, outcome)
        return self.refs(call, entries)

    def outcome(self, call: LocalCall, packed: PackedArguments) -> list[Packed]:
        """Run a call to its end, again if it fails in a way that is to be retried."""
        while True:
            try:
                args, kwargs = self.unpack(packed)
                with inside(call):
                    value = call.function(*args, **kwargs)
                    return self.values(call, value)
            except KeyboardInterrupt:
                raise  # of the person at the terminal: the driver is what runs here
            except BaseException as error:
                if not call.tries_again(error):
                    return [self.failed(call, error)]

    def entries(self, call: LocalCall) -> list[Entry]:
        """Pending entries for what a call returns."""
        return [Entry(call.id + index_bytes(at)) for at in range(call.returns[0])]

    def fill(self, entries: list[Entry], outcome: list[Packed]) -> None:
        """Put values into entries, or one failure into all of them."""
        failed = outcome[0] if outcome and outcome[0].kind == m.ERROR else None
        for at, entry in enumerate(entries):
            self.session.references.fill(entry, failed or outcome[at])

    def refs(self, call: LocalCall, entries: list[Entry]) -> Any:
        """What `.remote()` gives back."""
        refs = [ref_to(entry) for entry in entries]
        return refs[0] if call.returns[0] == 1 else refs or None

    # -- outcomes -----------------------------------------------------------------------------

    def values(self, call: LocalCall, value: Any) -> list[Packed]:
        """What a call has returned, split and copied."""
        count, flags = call.returns
        if flags & m.DYNAMIC:
            return [self.value(self._collected(value))]
        if count == 1:
            return [self.value(value)]
        if not count:
            return []
        if inspect.isgenerator(value):
            parts = list(itertools.islice(value, count))
            value.close()
        else:
            len(value)
            parts = list(value)
        if len(parts) != count:
            raise ValueError(f"Task returned {len(parts)} objects, but num_returns={count}.")
        return [self.value(part) for part in parts]

    def value(self, value: Any) -> Packed:
        """A copy of one value."""
        return self.session.references.packed(serialize(value))

    def _collected(self, generator: Any) -> Any:
        from ray_on_dask.runtime.streams import DynamicObjectRefGenerator

        return DynamicObjectRefGenerator([self.session.put(value) for value in generator])

    def failed(self, call: LocalCall, error: BaseException) -> Packed:
        """The failure of a call that has raised."""
        if isinstance(error, ArgumentFailed):
            return self._failure(argument_error(call.function_name, error.error))
        if call.actor is not None and call.actor.left_by(error):
            return failure(call.actor.error)
        if isinstance(error, SystemExit):
            text = f"Task {call.name} has called sys.exit."
            return failure(dumps_error(WorkerCrashedError(text)))
        actor = call.actor
        made = from_exception(
            call.function_name, error, proctitle=f"ray::{call.name}", pid=os.getpid(), ip=_IP,
            actor_repr=actor.repr() if actor is not None else None,
            actor_id=actor.id.hex() if actor is not None else None,
        )  # fmt: skip
        self.session.report(call, made)
        return self._failure(made)

    def _failure(self, error: Exception) -> Packed:
        data, refs = dumps_error_and_refs(error)
        for ref in refs:
            self.session.references.make_known(ref)
        return Packed(m.ERROR, data, refs)


@contextmanager
def inside(call: LocalCall) -> Iterator[None]:
    """Code within runs as part of the call."""
    token = current.call.set(call)
    try:
        yield
    finally:
        current.call.reset(token)
