"""Refs of local mode: each holds its value, pickled, as a copy that nobody can change."""

from __future__ import annotations

import concurrent.futures
import threading
import weakref
from dataclasses import dataclass, field
from typing import Any

from ray_on_dask.runtime.object_ref import Entry, ObjectRef, ref_to
from ray_on_dask.serialization import Serialized, to_bytes
from ray_on_dask.wire.messages import ERROR, INLINE, PENDING


@dataclass
class Packed:
    """A value or an error, as an entry keeps it."""

    kind: int
    data: bytes
    #: Refs inside the value: they live as long as it does.
    inner: list[ObjectRef[Any]] = field(default_factory=list)


def failure(error: bytes) -> Packed:
    """An error, as an entry keeps it."""
    return Packed(ERROR, error)


class LocalRefs:
    """The refs that lie inside values, by id, so that they come out as the same refs."""

    def __init__(self) -> None:
        self._known: weakref.WeakValueDictionary[bytes, ObjectRef[Any]] = (
            weakref.WeakValueDictionary()
        )
        self._pinned: set[ObjectRef[Any]] = set()
        self._lock = threading.Lock()

    def received(self, id: bytes) -> ObjectRef[Any]:
        """The ref for an id found in a value; one that nothing fills for an unknown id."""
        ref = self._known.get(id)
        if ref is None:
            ref = ref_to(Entry(id))
            self.make_known(ref)
        return ref

    ref_of = received

    def make_known(self, ref: ObjectRef[Any]) -> None:
        """From now on this ref can be found by its id."""
        ref._entry.share().ref = weakref.ref(ref)
        self._known[ref._entry.id] = ref

    def pin(self, ref: ObjectRef[Any]) -> None:
        """The ref is pickled by hand: keep it until the session ends."""
        self.make_known(ref)
        self._pinned.add(ref)

    def packed(self, serialized: Serialized) -> Packed:
        """A serialized value, as an entry keeps it."""
        inner = list(serialized.inner)
        for ref in inner:
            self.make_known(ref)
        return Packed(INLINE, to_bytes(serialized), inner)

    def fill(self, entry: Entry, packed: Packed) -> None:
        """The object is there, or has failed: whoever waits for it goes on."""
        if packed.inner:
            entry.share().inner = packed.inner
        with self._lock:
            waited = entry.data
            entry.data = packed.data
            entry.kind = packed.kind
        if waited is not None:
            waited.set_result(None)

    def future_of(self, entry: Entry) -> concurrent.futures.Future[None]:
        """Done when the entry is no longer pending."""
        with self._lock:
            if entry.kind != PENDING:
                done: concurrent.futures.Future[None] = concurrent.futures.Future()
                done.set_result(None)
                return done
            if entry.data is None:
                entry.data = concurrent.futures.Future()
            future: concurrent.futures.Future[None] = entry.data
            return future
