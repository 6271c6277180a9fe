"""The refs of one process: which objects it knows, which of them others know, when it lets go.

An object that never leaves its process costs nothing here: its `Entry` hangs on its `ObjectRef`
and dies with it. A ref that is serialized is *promoted*: the directory learns of it, and
from then on `known` has it by id. A ref that comes in is *borrowed*; it is registered with
the directory at once, or, when it came with a task's arguments (the caller's hold covers
those), at the end of the task if it is still there.

The process's lock is held by callers of every method whose docstring does not say otherwise.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from weakref import ref as weak

from ray_on_dask.ids import index_bytes
from ray_on_dask.runtime import current
from ray_on_dask.runtime.object_ref import Entry, ObjectRef, came_back, dropped, ref_to
from ray_on_dask.wire.messages import (
    ERROR,
    FREED,
    INLINE,
    PENDING,
    STORED,
    Hold,
    Promote,
    Release,
    Resolve,
    Result,
    Subscribe,
    Value,
)

if TYPE_CHECKING:
    from ray_on_dask.runtime.process import Process
    from ray_on_dask.runtime.unhandled import Unhandled

#: Small promoted values ride along in the directory up to this size; larger are stored first.
CARRIED_MAX = 8_000


class References:
    """The table of refs of one process."""

    def __init__(self, process: Process):
        self.process = process
        #: Entries that others know, or that have views, by id.
        self.known: dict[bytes, Entry] = {}
        #: Borrowed entries that came with the running task's arguments.
        self.on_trial: list[Entry] | None = None
        #: Those that were pickled by hand, for whoever it may be.
        self.pinned: set[ObjectRef[Any]] = set()
        #: Logs failures that nobody has fetched; None where all failures are shown at once.
        self.unhandled: Unhandled | None = None
        #: Results whose inner refs are held here now; whether the directory was just told of that.
        self.taken: list[bytes] = []
        self.fresh = False
        #: Holds to be released: (id, how many).
        self._releases: list[tuple[bytes, int]] = []
        #: Dropped entries of this member that another one of the same process came upon.
        self.passed_on: deque[Entry] = deque()

    # -- refs come in --------------------------------------------------------------

    def received(self, id: bytes) -> ObjectRef[Any]:
        """The ref for an id found in a value that is being deserialized (takes the lock)."""
        entry = self.known.get(id)
        if entry is not None and entry.shared is not None and entry.shared.ref is not None:
            ref = entry.shared.ref()
            if ref is not None:
                return ref
        with self.process.lock:
            return self._borrow(id)

    def _borrow(self, id: bytes, at_once: bool = False) -> ObjectRef[Any]:
        """The ref for an id; the directory is told `at_once`, whatever task runs here."""
        entry = self.known.get(id)
        ref = None
        if entry is not None:
            shared = entry.share()
            ref = shared.ref() if shared.ref is not None else None
            if ref is None:
                ref = ref_to(entry)
                entry.alive = True
                shared.ref = weak(ref)
        else:
            entry = Entry(id, owned=False)
            entry.tracked = True
            shared = entry.share()
            ref = ref_to(entry)
            shared.ref = weak(ref)
            self.known[id] = entry
            self.take_hold(entry, at_once)
        return ref

    def take_hold(self, entry: Entry, at_once: bool = False) -> None:
        """Register a hold; `at_once`, or at the end of the running task if it is kept then."""
        if self.on_trial is not None and not at_once:
            self.on_trial.append(entry)
            return
        self.fresh = True
        entry.share().owed += 1
        self.process.to_hub(Hold(entry.id, self.process.name))

    #: The ref with this id, new if it is unknown here (takes the lock).
    ref_of = received

    def take_over(self, result: bytes, ids: list[bytes]) -> list[ObjectRef[Any]]:
        """Refs inside a result: whoever sent it holds them until it is told that we do."""
        self.taken.append(result)
        return [self._borrow(id, at_once=True) for id in ids]

    def make_known(self, ref: ObjectRef[Any]) -> None:
        """From now on this ref can be found by its id."""
        with self.process.lock:
            entry = ref._entry
            shared = entry.share()
            if shared.ref is None:
                shared.ref = weak(ref)
            self.known[entry.id] = entry
            entry.tracked = True

    # -- at the end of a task ------------------------------------------------------------

    def end_of_trial(self) -> bool:
        """Register what the task has kept of its arguments' refs; whether there was any.

        The caller must not reply before the directory has acknowledged it.
        """
        trial, self.on_trial = self.on_trial, None
        if not trial:
            return False
        kept = False
        for entry in trial:
            shared = entry.share()
            if entry.alive or came_back(entry) or self._viewed(entry):
                if not shared.owed:
                    shared.owed = 1
                    self.process.to_hub(Hold(entry.id, self.process.name))
                    kept = True
            elif not shared.owed:
                self._forget(entry)
        return kept

    def _viewed(self, entry: Entry) -> bool:
        """Whether anything made of the object's bytes lives; its refs are gone."""
        shared = entry.shared
        if shared is None:
            return False
        opening = self.process.storing.opening
        if opening.in_use(entry):
            return True
        if shared.view is not None and not self.process.storing.close_when_idle(entry):
            return True
        if shared.closed_views:
            shared.closed_views = [view for view in shared.closed_views if view.alive]
        if not shared.closed_views:
            opening.unviewed(entry)
        return bool(shared.closed_views)

    def lent(self, id: bytes, value: Value) -> Entry:
        """The entry of a stored object that came as an argument: its caller holds it meanwhile."""
        entry = self.known.get(id)
        if entry is None:
            entry = Entry(id, value.kind, value.at, owned=False)
            entry.alive = False
            entry.tracked = True
            self.known[id] = entry
            if self.on_trial is None:
                self.take_hold(entry)
            else:
                self.on_trial.append(entry)
        elif entry.kind == PENDING and not entry.owned:
            self.complete(entry, value)
        return entry

    # -- refs go out ----------------------------------------------------------------------

    def promote(self, ref: ObjectRef[Any]) -> None:
        """The ref is about to be sent: let the directory know it."""
        entry = ref._entry
        shared = entry.share()
        if shared.ref is None:
            shared.ref = weak(ref)
        self.promote_entry(entry)

    def pin(self, ref: ObjectRef[Any]) -> None:
        """The ref is pickled by hand: keep it until this process ends (takes the lock)."""
        with self.process.lock:
            self.promote(ref)
            self.pinned.add(ref)

    def promote_entry(self, entry: Entry) -> None:
        """Likewise for an object, whether or not it has a ref."""
        shared = entry.share()
        if shared.promoted or not entry.owned:
            return
        shared.promoted = True
        shared.owed += 1
        entry.tracked = True
        self.known[entry.id] = entry
        label = shared.site or shared.label or self.process.recovery.name_of(entry)
        self.process.to_hub(Promote(entry.id, self._for_directory(entry), label))

    def _for_directory(self, entry: Entry) -> Value:
        if entry.kind == INLINE and len(entry.data) > CARRIED_MAX:
            self.process.storing.store_inline(entry)
        return self.value_of(entry)

    def value_of(self, entry: Entry) -> Value:
        """The object as it travels; refs inside it are promoted."""
        inner: list[bytes] = []
        shared = entry.shared
        if shared is not None and shared.inner:
            for ref in shared.inner:
                self.promote(ref)
                inner.append(ref._entry.id)
        if entry.kind == STORED:
            self.process.storing.seal(entry)
            return Value(STORED, b"", entry.data, inner)
        if entry.kind == PENDING:
            return PENDING_VALUE
        return Value(entry.kind, entry.data or b"", None, inner)

    def refuse(self, result: Result) -> None:
        """A result that nobody waits for: what it has stored, and refs in it, are not needed."""
        for at, value in enumerate(result.values):
            id = result.task + index_bytes(at)
            if value.inner:
                self.taken.append(id)
            if value.at is not None:
                self.process.storing.unheard.give_back([(id, value.at)])

    def handing(self, refs: Sequence[ObjectRef[Any]]) -> list[ObjectRef[Any]]:
        """These go out in a result: those of them that must be kept until its owner holds them.

        Those that came with the running task's arguments are held by its caller, who is the owner.
        """
        for ref in refs:
            self.promote(ref)
        return [x for x in refs if x._entry.owned or (x._entry.shared and x._entry.shared.owed)]

    # -- values -----------------------------------------------------------------------------

    def complete(self, entry: Entry, value: Value) -> None:
        """The object is there (or has failed): wake whoever waits for it."""
        if entry.kind != PENDING:
            self._superfluous(entry, value)
            return
        if value.inner and entry.owned:
            entry.share().inner = self.take_over(entry.id, value.inner)
        entry.kind = value.kind
        if value.kind == STORED:
            made_by, entry.data = entry.data, value.at
            entry.tracked = True
            if entry.owned:
                self.process.recovery.stored(entry, made_by)
        else:
            entry.data = value.data
            if value.kind == ERROR and self.unhandled is not None:
                self.unhandled.failed(entry)
        shared = entry.shared
        if shared is not None and shared.promoted:
            self.process.to_hub(Resolve(entry.id, self._for_directory(entry)))
        self.wake(entry)
        if entry.tracked and not entry.alive:
            dropped.append(entry)

    def _superfluous(self, entry: Entry, value: Value) -> None:
        """The same value once more, of a task that was run again for another of its values."""
        if value.inner and entry.owned:
            self.take_over(entry.id, value.inner)
        at = value.at
        if at is not None and not (entry.kind == STORED and entry.data.node == at.node):
            self.process.storing.free_at(at.node, entry.id)

    def wake(self, entry: Entry) -> None:
        """Call whoever waits for the entry."""
        waiters, entry.waiters = entry.waiters, None
        if waiters:
            for call in waiters:
                call(entry)

    def when_ready(self, entry: Entry, call: Callable[[Entry], None]) -> None:
        """Call `call(entry)` when the object is there; the directory is asked for borrowed ones."""
        if entry.kind != PENDING:
            call(entry)
            return
        if entry.waiters is None:
            entry.waiters = [call]
        else:
            entry.waiters.append(call)
        if not entry.owned:
            shared = entry.share()
            if not shared.subscribed:
                shared.subscribed = True
                self.process.to_hub(Subscribe([entry.id]))

    def resolved(self, id: bytes, value: Value) -> None:
        """The directory says what a borrowed object is, or that an owned one is lost or freed."""
        entry = self.known.get(id)
        if entry is None:
            return
        if entry.owned:
            if entry.kind in (INLINE, STORED) and value.kind == FREED:
                if value.at is None:
                    entry.kind, entry.data = FREED, b""
                elif value.at == entry.data:
                    self.process.recovery.lost([entry], f"node {value.at.node[:8]} has it no more")
        elif entry.kind == PENDING:
            self.complete(entry, value)
        elif entry.kind == STORED and value.kind != PENDING:
            entry.kind, entry.data = value.kind, value.at if value.kind == STORED else value.data

    def log_unhandled(self) -> None:
        """From now on log failures that nobody has fetched, when their last ref goes."""
        from ray_on_dask.runtime.unhandled import Unhandled

        self.unhandled = Unhandled()

    # -- letting go ------------------------------------------------------------------------

    def drain(self) -> None:
        """Act upon the refs and views that have gone since the last call."""
        opening = self.process.storing.opening
        while dropped or self.passed_on:
            try:
                entry = dropped.popleft() if dropped else self.passed_on.popleft()
            except IndexError:
                break
            if current.guests and (member := current.whose(entry)) is not self.process:
                if member is not None:
                    member.references.passed_on.append(entry)
                continue
            if entry.alive:
                opening.view_died(entry)
            elif entry.tracked and not came_back(entry) and not self._viewed(entry):
                self._let_go(entry)
        opening.send_closed()
        self.process.storing.send_frees()
        self.send_releases()

    def send_releases(self) -> None:
        """Tell the directory what has been let go."""
        if self._releases:
            releases, self._releases = self._releases, []
            self.process.to_hub(Release(releases))

    def _let_go(self, entry: Entry) -> None:
        if entry.kind == ERROR and self.unhandled is not None:
            self.unhandled.gone(entry)
        if entry.owned and entry.kind == PENDING:
            return  # others may wait for it: its end lets go
        shared = entry.shared
        if self.on_trial is not None and not entry.owned and not (shared and shared.owed):
            return  # came with the running task's arguments: its end decides
        if shared is not None and shared.owed:
            if self.known.get(entry.id) is entry:  # else it is of a session that has ended
                self._releases.append((entry.id, shared.owed))
            shared.owed = 0
            self._forget(entry)
        elif entry.owned and entry.kind == STORED:
            self.process.storing.free(entry)
            self._forget(entry)
        elif entry.kind != PENDING or not entry.owned:
            self._forget(entry)

    def _forget(self, entry: Entry) -> None:
        if self.known.get(entry.id) is entry:
            del self.known[entry.id]
        if entry.owned and self.process.recovery.results.get(entry.id) is entry:
            self.process.recovery.released(entry.id)
        entry.tracked = False
        shared = entry.shared
        if shared is not None:
            shared.promoted = False
            shared.inner = []
            shared.keeps = None

    def validate(self) -> None:
        """Assert what must hold between any two calls."""
        for id, entry in self.known.items():
            assert entry.id == id
            if entry.shared is not None and entry.shared.ref is not None:
                ref = entry.shared.ref()
                assert ref is None or ref._entry is entry


PENDING_VALUE = Value(PENDING)
