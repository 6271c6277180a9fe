"""The objects of one process: small ones as bytes at hand, large ones in shared memory.

An object that this process wrote is its own until it is *sealed*: the node is told of it when
somebody else may read it, or when it has lived for `SEAL_AFTER` seconds. Before that, its space
is reused the moment it is dropped, while its pages are warm.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from time import monotonic
from typing import TYPE_CHECKING, Any

from ray_on_dask.ids import PUT_INDEX
from ray_on_dask.objectstore.store import Store
from ray_on_dask.runtime.object_ref import Entry, ObjectRef, dropped, ref_to
from ray_on_dask.runtime.opening import Opening, Unreadable
from ray_on_dask.runtime.unheard import Unheard
from ray_on_dask.runtime.waiting_for_room import WaitForRoom
from ray_on_dask.serialization import (
    Serialized,
    deserialize,
    deserialize_view,
    explain_failure,
    parts,
    serialize,
    to_bytes,
)
from ray_on_dask.wire import messages as m
from ray_on_dask.wire.channel import Channel

if TYPE_CHECKING:
    from ray_on_dask.runtime.process import Process

#: Serialized values up to this size stay out of the store.
INLINE_MAX = 100_000
#: Seconds after which the node is told of an object that nobody else has asked for.
SEAL_AFTER = 0.1
TRIM_EVERY = 0.5
#: References to a view that no thread reads: a local name, and getrefcount's own.
_IDLE = 2


class Storing:
    """Puts, loads and frees objects."""

    def __init__(self, process: Process):
        self.process = process
        self.opening = Opening(process)
        self.room = WaitForRoom(process)
        self.unheard = Unheard(process)
        self._store: Store | None = None
        #: Threads may need it first at the same time: only one of them may make the store.
        self._making = threading.Lock()
        #: Own objects that the node does not know, with the time when they were written.
        self._unsealed: dict[bytes, tuple[Entry, float]] = {}
        #: {node: objects there that nobody can reach}.
        self._to_free: dict[str, list[bytes]] = {}
        self._next_trim = 0.0
        self.directory = ""
        self.capacity = 0

    def handlers(self) -> dict[type, Callable[[Channel, Any], None]]:
        """What the node says to this process about objects, and who takes it."""
        return {
            m.SpaceFreed: self.on_space_freed,
            m.Opened: self.opening.on_opened,
            m.Pressure: self.opening.on_pressure,
            m.Forget: self.opening.on_forget,
            m.Room: self.room.on_room,
            m.Unheard: self.unheard.on_unheard,
        }

    def configure(self, directory: str, capacity: int) -> None:
        """Say where the node's store is; it is opened when it is first needed."""
        self.directory, self.capacity = directory, capacity

    @property
    def store(self) -> Store:
        """This process's part of the node's store."""
        if self._store is None:
            self._make_store()
        assert self._store is not None
        return self._store

    def _make_store(self) -> None:
        process = self.process
        with self._making:
            if self._store is None:
                self._store = Store(
                    self.directory, process.name, process.node, self.capacity, self.room.wait
                )
        process.reactor.wake()  # there is something to look after from now on

    @property
    def active(self) -> bool:
        """Whether `tick` has anything to look after."""
        return bool(self._unsealed or self.unheard) or self._store is not None

    # -- writing ------------------------------------------------------------------------

    def put(self, value: Any) -> ObjectRef[Any]:
        """A ref to a copy of the value."""
        try:
            serialized = serialize(value)
        except Exception as error:
            raise explain_failure(value, "put value", error) from error
        entry = Entry(self.process.task_ids.next() + PUT_INDEX)
        if serialized.size <= INLINE_MAX:
            entry.kind = m.INLINE
            entry.data = to_bytes(serialized)
        else:
            self.store_value(entry, serialized)
        if serialized.inner:
            for ref in serialized.inner:
                self.process.references.make_known(ref)
            entry.share().inner = list(serialized.inner)
        return ref_to(entry)

    def store_value(self, entry: Entry, serialized: Serialized) -> None:
        """Write a new object of this process's to shared memory."""
        if dropped:
            # What was dropped just now may be what there is room in, and its pages are warm.
            with self.process.lock:
                self.process.references.drain()
        entry.data = self.store.write(parts(serialized), serialized.size)
        entry.kind = m.STORED
        entry.tracked = True
        self._unsealed[entry.id] = (entry, monotonic())

    def store_inline(self, entry: Entry) -> None:
        """Move an object that is too large for the directory to the store, if it has room."""
        from ray_on_dask.exceptions import ObjectStoreFullError

        data = entry.data
        try:
            at = self.store.write([data], len(data), at_once=True)
        except ObjectStoreFullError:
            return
        # In this order: threads that read without the lock go by the kind.
        entry.kind = m.STORED
        entry.data = at
        entry.tracked = True
        self._unsealed[entry.id] = (entry, monotonic())

    def write_result(self, id: bytes, serialized: Serialized, label: str) -> m.Located:
        """Write a result, of which another process is the owner, and tell the node."""
        at = self.store.write(parts(serialized), serialized.size)
        self.process.to_hub(m.Sealed(id, at, f"{label}-{id.hex()}"))
        return at

    def seal(self, entry: Entry) -> None:
        """Tell the node of an own object, if it does not know it."""
        if self._unsealed.pop(entry.id, None) is not None:
            if self.opening.uses:
                self.opening.sealing(entry)
            label = (entry.shared and entry.shared.label) or "put"
            self.process.to_hub(m.Sealed(entry.id, entry.data, f"{label}-{entry.id.hex()}"))

    def seal_all(self) -> None:
        """Tell the node of all own objects: others wait for room."""
        for entry, _ in list(self._unsealed.values()):
            self.seal(entry)

    def is_unsealed(self, entry: Entry) -> bool:
        """Whether this is an own object that nobody else knows of."""
        return entry.id in self._unsealed

    # -- reading --------------------------------------------------------------------------

    def load(self, entry: Entry, timeout: float | None = None) -> Any:
        """The value of a stored object, its buffers where they lie.

        Blocks if the node has to be asked for it (`Opening`); `GetTimeoutError` after `timeout`.
        """
        shared = entry.shared
        view = shared.view if shared is not None else None
        if view is None:
            with self.process.lock:
                view = self._view(entry)
            if view is None:
                return self.opening.load(entry, timeout)
        return deserialize_view(view)

    def _view(self, entry: Entry) -> Any:
        """A view of a stored object, None if the node has to be asked for it (under the lock)."""
        if entry.kind != m.STORED:
            raise Unreadable(None, "it was lost a moment ago")
        return entry.share().view or self.opening.view(entry)

    def to_be_opened(self, dependencies: list[m.Dependency]) -> list[m.Dependency]:
        """The arguments that the node must be asked for."""
        must_ask = self.opening.must_ask
        return [
            dependency for dependency in dependencies
            if dependency.value.at is not None and must_ask(dependency.value.at)
        ]  # fmt: skip

    def lent(self, dependencies: list[m.Dependency]) -> Iterator[Entry]:
        """Their entries: to be asked for before the lock is left that this is called under."""
        for dependency in dependencies:
            entry = self.process.references.lent(dependency.id, dependency.value)
            if entry.kind == m.STORED:
                yield entry

    def load_dependency(self, dependency: m.Dependency) -> Any:
        """The value of an argument that was a ref."""
        value = dependency.value
        if value.kind == m.INLINE:
            return deserialize(value.data)
        view = None
        with self.process.lock:
            entry = self.process.references.lent(dependency.id, value)
            with contextlib.suppress(Unreadable):  # who reads it below has it made again
                view = self._view(entry)  # now: a thread that drops it elsewhere would let it go
        try:
            if view is not None:
                return deserialize_view(view)
            return self.process.getting.value(entry)
        finally:
            del view
            if not entry.alive:
                with self.process.lock:
                    self.close_when_idle(entry)

    def close_idle_view(self, entry: Entry) -> bool:
        """Have no open view that no thread reads; whether there is none now (under the lock).

        What was made of it so far keeps its bytes. Readers take the view without the lock, so it
        is hidden first and looked at then: who takes it has it until he has read it.
        """
        shared = entry.shared
        if shared is None or shared.view is None:
            return True
        view, shared.view = shared.view, None
        if sys.getrefcount(view) > _IDLE:
            shared.view = view
            return False
        view.close()
        if view.alive:
            shared.closed_views.append(view)
        return True

    def close_when_idle(self, entry: Entry) -> bool:
        """Likewise; if a thread reads it, it is looked at again until none does."""
        closed = self.close_idle_view(entry)
        if not closed:
            self.opening.to_close.append(entry)
        return closed

    def close_view(self, entry: Entry) -> None:
        """No more reads (under the lock)."""
        if not self.close_idle_view(entry) and entry.shared is not None:
            entry.shared.view = None  # the thread that reads it is the last to have it

    # -- freeing ----------------------------------------------------------------------------

    def free(self, entry: Entry) -> None:
        """Nobody can reach this object of ours any more."""
        if self._unsealed.pop(entry.id, None) is not None:
            self.store.free(entry.data)
        else:
            self._to_free.setdefault(entry.data.node, []).append(entry.id)

    def free_now(self, entry: Entry) -> None:
        """Free an object of ours that has refs; what was read of it keeps its bytes."""
        promoted = entry.shared is not None and entry.shared.promoted
        if self.opening.close_if_idle(entry) and not promoted:
            self.free(entry)
            return
        self.seal(entry)
        own = entry.data.node == self.process.node
        self.process.to_hub(m.FreeObjects([entry.id], "" if own else entry.data.node, True))

    def send_frees(self) -> None:
        """Tell the node which objects are garbage."""
        if self._to_free:
            to_free, self._to_free = self._to_free, {}
            own = self.process.node
            for node, ids in to_free.items():
                self.process.to_hub(m.FreeObjects(ids, "" if node == own else node))

    def on_space_freed(self, channel: Channel, message: m.SpaceFreed) -> None:
        """The node gives back space in files of ours."""
        if message.urgent:
            self.store.free_urgently(message.places)
            return
        for place in message.places:
            self.store.free(place)

    def free_at(self, node: str, id: bytes) -> None:
        """A node has bytes of an object that nobody needs there."""
        self._to_free.setdefault(node, []).append(id)

    def lost(self, entry: Entry) -> None:
        """The bytes of a stored object are gone: what was read of them stays with its readers."""
        self._unsealed.pop(entry.id, None)
        self.close_view(entry)
        self.opening.forget(entry)

    # -- time -------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Seal what has lived long enough; give back memory that was warm for too long."""
        self.send_frees()
        self.opening.tick()
        self.unheard.tick(now)
        for entry, since in list(self._unsealed.values()):
            if now - since < SEAL_AFTER:
                break
            self.seal(entry)
        if now >= self._next_trim and self._store is not None:
            self._next_trim = now + TRIM_EVERY
            self._store.trim(now)

    def close(self) -> None:
        """Let go of the store; what others know of stays, for the node to free."""
        if self._store is not None:
            self._store.close()
