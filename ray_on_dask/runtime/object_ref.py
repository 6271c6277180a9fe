"""`ObjectRef`, and the `Entry` behind it: what one process knows of one object.

There is one `ObjectRef` instance per id and process, so that equality and hash are identity, at
C speed. `__del__` may run inside the garbage collector while any lock is held: it sets a
flag and appends to a deque, nothing more.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, Generator
from typing import Any, Generic, TypeVar
from weakref import ref as weak

from ray_on_dask.ids import OBJECT_ID_SIZE, JobID, TaskID
from ray_on_dask.runtime.current import require
from ray_on_dask.serialization import current_refs
from ray_on_dask.wire.messages import PENDING

T = TypeVar("T")

#: Entries of which the last ref has gone, and that somebody must be told of.
dropped: deque[Entry] = deque()
_sharing = threading.Lock()


class Shared:
    """The part of an entry that only objects known outside their process need."""

    __slots__ = (
        "closed_views", "inner", "keeps", "label", "owed", "promoted", "ref", "site", "subscribed",
        "view",
    )  # fmt: skip

    def __init__(self) -> None:
        #: Holds in the directory that this process has to release.
        self.owed = 0
        #: The directory knows the object, by this process's word.
        self.promoted = False
        self.subscribed = False
        #: Refs inside the object: they live as long as it does.
        self.inner: list[ObjectRef[Any]] = []
        #: The open view of the stored bytes in this process, if any.
        self.view: Any = None
        #: Views that are closed, but of which something lives.
        self.closed_views: list[Any] = []
        self.ref: weak[ObjectRef[Any]] | None = None
        self.label = ""
        #: Where in the user's program the ref was made, if that is noted.
        self.site = ""
        #: Something of this process's that is to live as long as the object: a Dask future; of one
        #: that is the value of such a future, by what it is made again (`dask_interop.Source`).
        self.keeps: Any = None


class Entry:
    """State of one object in one process."""

    __slots__ = ("alive", "data", "id", "kind", "owned", "shared", "tracked", "waiters")

    def __init__(self, id: bytes, kind: int = PENDING, data: Any = None, owned: bool = True):
        self.id = id
        #: One of the kinds of `Value`.
        self.kind = kind
        #: INLINE and ERROR: bytes; PENDING: the task that makes it, if this process owns it.
        self.data = data
        #: Whether this process made the ref.
        self.owned = owned
        #: Whether an `ObjectRef` of it exists.
        self.alive = True
        #: Whether the end of that `ObjectRef` must be acted upon.
        self.tracked = False
        #: Called with the entry, under the process's lock, when it is no longer pending.
        self.waiters: list[Callable[[Entry], None]] | None = None
        self.shared: Shared | None = None

    def share(self) -> Shared:
        """The shared part, made when it is first needed: one, from whatever thread."""
        if self.shared is None:
            new = Shared()  # first: nothing that the garbage collector calls is to find it locked
            with _sharing:
                if self.shared is None:
                    self.shared = new
        return self.shared


class ObjectRef(Generic[T]):
    """A reference to a value that is, or will be, somewhere in the cluster.

    Refs come from `.remote()`, `put` and inside other values. They may be passed to tasks and
    actors, kept and compared. One that is pickled by other means (`pickle.dumps`) is kept by the
    process that did so for as long as that lives, as nobody knows who will read it.

    Examples
    --------
    >>> import ray_on_dask as ray
    >>> ref = ray.put("a value")
    >>> ray.get(ref)
    'a value'
    """

    __slots__ = ("__weakref__", "_entry")

    _entry: Entry

    def __new__(cls, binary: bytes) -> ObjectRef[T]:
        """The ref with this id; `ValueError` if `binary` is not 20 bytes."""
        if not isinstance(binary, bytes) or len(binary) != OBJECT_ID_SIZE:
            raise ValueError(f"an ObjectRef takes {OBJECT_ID_SIZE} bytes, got {binary!r}")
        return require().references.ref_of(binary)

    def __del__(self, append: Callable[[Entry], None] = dropped.append) -> None:
        entry = self._entry
        entry.alive = False
        if entry.tracked:
            append(entry)  # a default, which is there even when modules are being taken apart

    # -- what it says of itself -----------------------------------------------------

    def binary(self) -> bytes:
        """The id, 20 bytes."""
        entry = self._entry
        if entry.shared is None or entry.shared.ref is None:
            require().references.make_known(self)
        return entry.id

    def hex(self) -> str:
        """The id, 40 hex digits."""
        return self.binary().hex()

    def is_nil(self) -> bool:
        """Whether it refers to nothing."""
        return self._entry.id == b"\xff" * OBJECT_ID_SIZE

    def task_id(self) -> TaskID:
        """The id of the task that makes the value."""
        return TaskID.of(self._entry.id[:16])

    def job_id(self) -> JobID:
        """The id of the job that this process belongs to."""
        return JobID.from_int(require().job)

    def owner_address(self) -> bytes:
        """The name of the owning process, b"" if that is not this one."""
        return require().name.encode() if self._entry.owned else b""

    def call_site(self) -> str:
        """Where the ref was made, if that is noted; else the function that makes the value."""
        shared = self._entry.shared
        return shared.site or shared.label if shared is not None else ""

    @classmethod
    def size(cls) -> int:
        """Bytes in an id."""
        return OBJECT_ID_SIZE

    @classmethod
    def nil(cls) -> ObjectRef[Any]:
        """The ref to nothing: `get` of it waits for ever."""
        return cls(b"\xff" * OBJECT_ID_SIZE)

    @classmethod
    def from_binary(cls, binary: bytes) -> ObjectRef[Any]:
        """The ref with this id."""
        return cls(binary)

    @classmethod
    def from_hex(cls, digits: str) -> ObjectRef[Any]:
        """The ref whose id has these 40 hex digits."""
        return cls(bytes.fromhex(digits))

    @classmethod
    def from_random(cls) -> ObjectRef[Any]:
        """A ref with a random id, to which nothing belongs."""
        import os

        return cls(os.urandom(OBJECT_ID_SIZE))

    def __repr__(self) -> str:
        return f"ObjectRef({self._entry.id.hex()})"

    def __copy__(self) -> ObjectRef[T]:
        return self

    def __deepcopy__(self, memo: object) -> ObjectRef[T]:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        refs = current_refs()
        if refs is None:
            if _pickled_by_dask():
                raise TypeError(
                    f"{self!r} cannot be part of a Dask graph: its scheduler reads what is in it. "
                    "Give it ref.dask_future() instead, which is the value to Dask."
                )
            require().references.pin(self)
        else:
            refs.append(self)
        return restore, (self._entry.id,)

    # -- as a future ----------------------------------------------------------------

    def future(self) -> concurrent.futures.Future[T]:
        """A `concurrent.futures.Future` of the value; cancelling it does not cancel the task."""
        return require().getting.future(self)

    def as_future(self) -> asyncio.Future[T]:
        """An `asyncio.Future` of the value (deprecated: `await ref` does the same)."""
        warnings.warn(
            "as_future is deprecated: await the ref, or use asyncio.wrap_future(ref.future()).",
            DeprecationWarning,
            stacklevel=2,
        )
        return asyncio.wrap_future(self.future())

    def dask_future(self, client: Any = None) -> Any:
        """A `distributed.Future` of the value, for use in any Dask graph.

        The ref need not be ready: a graph may be built upon the future at once. What `get` would
        raise, the future raises. Arrays are read-only views of shared memory in the worker on
        whose host the object lies.

        Parameters
        ----------
        client : distributed.Client, optional
            Default: this session's own.
        """
        (future,) = require().interop.dask_futures([self], client)
        return future

    def __await__(self) -> Generator[Any, None, T]:
        return (yield from asyncio.wrap_future(self.future()).__await__())

    def _on_completed(self, callback: Callable[[T], None]) -> None:
        """Call ``callback(value or exception)`` from a background thread."""

        def call(future: concurrent.futures.Future[T]) -> None:
            error = future.exception()
            callback(error if error is not None else future.result())  # type: ignore[arg-type]

        self.future().add_done_callback(call)


def _pickled_by_dask() -> bool:
    """Whether Dask's code has called the pickler that is at work."""
    frame = sys._getframe(2)
    while frame is not None:
        package = str(frame.f_globals.get("__name__")).partition(".")[0]
        if package not in ("cloudpickle", "pickle", "ray_on_dask", "ray"):
            return package in ("dask", "distributed")
        frame = frame.f_back  # type: ignore[assignment]
    return False


def ref_to(entry: Entry) -> ObjectRef[Any]:
    """A first `ObjectRef` for a new entry (the caller sees to it that there is no other)."""
    ref: ObjectRef[Any] = object.__new__(ObjectRef)
    ref._entry = entry
    return ref


def came_back(entry: Entry) -> bool:
    """Whether the ref of a dropped entry lives (under the lock): then it is as it was before.

    `__del__` is Python code, so another thread may find the ref by its id while that runs, and
    keep it. It is not called again; from then on the weak reference tells of the end.
    """
    shared = entry.shared
    ref = shared.ref() if shared is not None and shared.ref is not None else None
    if shared is None or ref is None:
        return False
    entry.alive = True
    shared.ref = weak(ref, lambda _: _gone(entry))
    return True


def _gone(entry: Entry) -> None:
    entry.alive = False
    if entry.tracked:
        dropped.append(entry)


def restore(id: bytes) -> ObjectRef[Any]:
    """What a pickled ref becomes in the process that it has come to."""
    return require().references.received(id)
