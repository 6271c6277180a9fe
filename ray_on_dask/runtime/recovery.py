"""Lost objects at their owner: what is kept to make them again, and how that is done.

Decisions are `core.lineage`. A result costs nothing here unless it turns out to be stored: only
then is its task kept, with its small arguments and without refs to the large ones. The process's
lock is held by callers of every method whose docstring does not say otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable
from time import monotonic
from typing import TYPE_CHECKING, Any

from ray_on_dask.core import lineage as core
from ray_on_dask.ids import OBJECT_ID_SIZE, index_bytes
from ray_on_dask.runtime import arguments, failures
from ray_on_dask.runtime.actor_calls import Call
from ray_on_dask.runtime.object_ref import Entry, ObjectRef, ref_to
from ray_on_dask.runtime.opening import Unreadable
from ray_on_dask.runtime.streams import Stream
from ray_on_dask.wire import messages as m
from ray_on_dask.wire.channel import Channel
from ray_on_dask.wire.reactor import Waiter

if TYPE_CHECKING:
    from ray_on_dask.runtime.process import Process

#: Seconds that an object may be out of reach while its node counts as alive, and between two tries.
PATIENCE, AGAIN = 40.0, 0.2
#: Bytes that a task takes up at its owner, what it was given aside.
SPEC = 600


class Kept:
    """A task that has ended, and what it takes to run it again."""

    __slots__ = ("inner", "owned", "place_of")

    def __init__(self, owned: Any):
        self.owned = owned
        #: (place, id) of arguments that were stored objects, and ids of stored ones inside others.
        self.place_of: list[tuple[int | str, bytes]] = []
        self.inner: list[bytes] = []


class Again(Stream):
    """A generator that runs again: its values go to the refs of the first run."""

    def __init__(self, owned: Any, recovery: Recovery):
        super().__init__(owned)
        self.recovery = recovery
        self.backpressure = owned.task.backpressure = 0

    def entry(self, at: int) -> Entry:
        """The entry of the `at`-th value, if it is wanted; else one that nobody sees."""
        entry = self.entries.get(at)
        if entry is None:
            entry = self.entries[at] = self.recovery.result(self.task + index_bytes(at), self.owned)
        return entry


class Recovery:
    """Keeps the tasks of stored results, and runs them again."""

    def __init__(self, process: Process):
        self.process = process
        self._lineage: core.Lineage | None = None
        self.kept: dict[bytes, Kept] = {}
        #: Stored results that this process owns, by id.
        self.results: dict[bytes, Entry] = {}
        #: {object that could not be reached: since when}.
        self._out_of_reach: dict[bytes, float] = {}
        #: What tasks that run again need, until they have ended.
        self._holding: dict[bytes, list[ObjectRef[Any]]] = {}

    @property
    def lineage(self) -> core.Lineage:
        """The decisions; made when the process knows its job."""
        if self._lineage is None:
            process, config = self.process, self.process.config
            prefix = b"" if config.id_seed is not None else bytes.fromhex(process.name)
            self._lineage = core.Lineage(prefix, config.lineage_bytes)
        return self._lineage

    # -- keeping ------------------------------------------------------------------------

    def stored(self, entry: Entry, owned: Any) -> None:
        """A result of a task of this process's has turned out to be stored."""
        self.results[entry.id] = entry
        task = getattr(owned, "task", None)
        if task is None:  # of a Dask future
            return
        if task.id in self.kept or not task.flags & m.STREAM:
            self._keep(owned, [entry.id])

    def stream_over(self, owned: Any, total: int) -> None:
        """A generator has ended: only now can it do without its arguments."""
        task = owned.task
        made = [id for at in range(total) if (id := task.id + index_bytes(at)) in self.results]
        if made and task.id not in self.kept:
            self._keep(owned, made)
            owned.stream = None

    def _keep(self, owned: Any, made: list[bytes]) -> None:
        task, size = owned.task.id, 0
        sources: list[bytes] = []
        if task not in self.kept:
            self.kept[task], sources, size = self._strip(owned)
        self._forget(self.lineage.keep(task, size, owned.retries, made, sources))

    def _strip(self, owned: Any) -> tuple[Kept, list[bytes], int]:
        """Keep of a task what it takes to run it again: small values, and ids of large ones."""
        kept, packed = Kept(owned), owned.packed
        size = SPEC + len(packed.value.data)
        size += sum(len(dependency.value.data) for dependency in owned.task.dependencies)
        inner = list(packed.inner)
        for place, ref in packed.dependencies:
            entry = ref._entry
            if entry.kind == m.STORED:
                kept.place_of.append((place, entry.id))
            elif entry.shared is not None:
                inner += entry.shared.inner
        held: list[ObjectRef[Any]] = []
        for ref in inner:
            entry = ref._entry
            if entry.kind == m.STORED:
                kept.inner.append(entry.id)
            elif len(entry.id) == OBJECT_ID_SIZE:  # else a handle: it keeps no actor alive
                held.append(ref)
                size += len(entry.data) if entry.kind == m.INLINE else 0
        spec = arguments.Arguments()
        spec.value, spec.inner = packed.value, held
        owned.packed, owned.returns = spec, ()
        sources = [id for _, id in kept.place_of] + kept.inner
        return kept, sources, size

    def released(self, id: bytes) -> None:
        """Nobody can reach this result any more."""
        if self.results.pop(id, None) is not None:
            self._forget(self.lineage.released(id))

    def _forget(self, tasks: Iterable[bytes]) -> None:
        for task in tasks:
            self.kept.pop(task, None)

    # -- what is lost ---------------------------------------------------------------------

    def on_node_lost(self, channel: Channel, message: m.NodeLost) -> None:
        """What lay on this node is gone: ours is made again, others' owners see to theirs."""
        ours, moved = [], dict(message.moved)
        for entry in [*self.results.values(), *self.process.references.known.values()]:
            if entry.kind != m.STORED or entry.data.node != message.node:
                continue
            if entry.id in moved:
                entry.data = moved[entry.id]
            elif entry.owned:
                ours.append(entry)
            else:
                self._await_again(entry)
        self.lost({entry.id: entry for entry in ours}.values(), f"its node died: {message.reason}")

    def _await_again(self, entry: Entry) -> None:
        """A borrowed object is not where it was: the directory is asked anew."""
        self.process.storing.lost(entry)
        entry.kind, entry.data = m.PENDING, None
        entry.share().subscribed = False

    def unreadable(self, entry: Entry, unreadable: Unreadable) -> None:
        """An object could not be read (takes the lock): have it made again, or try once more.

        Where it is only out of reach, it is not given up before its node had the time to be
        declared dead; then this raises what its own node has said.
        """
        process = self.process
        if unreadable.error:
            since = self._out_of_reach.setdefault(entry.id, monotonic())
            if entry.kind == m.STORED and monotonic() - since > PATIENCE:
                from ray_on_dask.error_serialization import loads_error

                self._out_of_reach.pop(entry.id, None)  # other threads may wait for it too
                raise loads_error(unreadable.error)
            process.block(Waiter(1), [], AGAIN)
            if process.reactor.closed:
                raise process.why_closed()
            return
        with process.lock:
            self._out_of_reach.pop(entry.id, None)
            if entry.kind == m.STORED and entry.data == unreadable.at:
                self._missing(entry, str(unreadable))

    def _missing(self, entry: Entry, why: str) -> None:
        """An object is not where it should be."""
        at = entry.data
        if entry.share().promoted or not entry.owned:
            self.process.to_hub(m.Missing(entry.id, at))
        else:
            self.process.storing.free_at(at.node, entry.id)
        if entry.owned:
            self.lost([entry], why)
        else:
            self._await_again(entry)

    def lost(self, entries: Iterable[Entry], why: str) -> None:
        """Objects that this process owns are lost: make them again, or say why that cannot be."""
        gone = {entry.id: entry for entry in entries if entry.kind == m.STORED}
        if not gone:
            return
        for entry in [x for x in gone.values() if x.shared is not None and x.shared.keeps]:
            self._write_again(gone.pop(entry.id), why)
        plan = self.lineage.lost(gone, self._have)
        for id, entry in gone.items():
            self.process.storing.lost(entry)
            kept = self.kept.get(id[: core.TASK])
            entry.kind, entry.data = m.PENDING, kept.owned if kept is not None else None
        for what in plan:
            if isinstance(what, core.Hopeless):
                self._give_up(gone[what.id], what, why)
        redone = [what for what in plan if isinstance(what, core.Redo)]
        for what in redone:
            self._gather(what)
        for what in redone:
            self._run(what)

    def _write_again(self, entry: Entry, why: str) -> None:
        """The value of a Dask future is lost: Dask makes it again, if anybody has the future."""
        source = entry.share().keeps
        self.process.storing.lost(entry)
        entry.kind, entry.data = m.PENDING, None
        if not source.make_again(entry):
            self._give_up(entry, core.Hopeless(entry.id, core.RELEASED), why)

    def _have(self, id: bytes) -> bool:
        """Whether an object that a task needs is there, or comes."""
        entry = self.results.get(id) or self.process.references.known.get(id)
        return entry is not None and entry.kind in (m.INLINE, m.STORED, m.PENDING)

    def name_of(self, entry: Entry) -> str:
        """The function that makes or has made an object, "" if that is not known any more."""
        kept = self.kept.get(entry.id[: core.TASK])
        owned = entry.data if entry.kind == m.PENDING else kept and kept.owned
        return str(getattr(getattr(owned, "task", None), "name", ""))

    def _give_up(self, entry: Entry, hopeless: core.Hopeless, why: str) -> None:
        name = self.name_of(entry)
        label = entry.shared.label if entry.shared is not None else ""
        limit = self.lineage.limit
        error = failures.not_made_again(entry.id, name or label or "put", hopeless, why, limit)
        self.process.references.complete(entry, m.Value(m.ERROR, error))
        self.released(entry.id)

    # -- running again ----------------------------------------------------------------------

    def result(self, id: bytes, owned: Any) -> Entry:
        """The entry for a result that comes again; one that nobody sees if nobody wants it."""
        entry = self.results.get(id)
        if entry is None:
            entry = Entry(id, data=owned)
            entry.alive = False
        return entry

    def _gather(self, redo: core.Redo) -> None:
        """Hold what a task needs; where it is gone, make an entry that another task is to fill."""
        kept = self.kept[redo.task]
        held = self._holding[redo.task] = []
        for id in dict.fromkeys(redo.sources):
            held.append(self._ref(id))
        owned, task = kept.owned, kept.owned.task
        owned.retries = redo.retries
        task.attempt += 1
        refs = {ref._entry.id: ref for ref in held}
        packed = owned.packed
        packed.dependencies = [
            *((given.place, ref_to(Entry(given.id, m.INLINE, given.value.data)))
              for given in task.dependencies if given.value.kind == m.INLINE),
            *((place, refs[id]) for place, id in kept.place_of),
        ]  # fmt: skip
        packed.inner = [*packed.inner, *(refs[id] for id in kept.inner)]

    def _ref(self, id: bytes) -> ObjectRef[Any]:
        """A ref to an ingredient: the one that there is, or one to what is about to be made."""
        references = self.process.references
        entry = self.results.get(id) or references.known.get(id)
        if entry is None:
            entry = Entry(id, data=self.kept[id[: core.TASK]].owned)
            self.results[id] = entry
            entry.alive = False
        references.known[id] = entry
        entry.tracked = True
        return references.received(id)

    def _run(self, redo: core.Redo) -> None:
        owned = self.kept[redo.task].owned
        task = owned.task
        if task.flags & m.STREAM:
            owned.stream = Again(owned, self)
            self.process.streams.open_streams[task.id] = owned.stream
            owned.returns = []
        else:
            owned.returns = [
                self.result(task.id + index_bytes(at), owned) for at in range(task.returns)
            ]
        if not isinstance(owned, Call):
            self.process.submitting.resubmit(owned)
        elif owned.actor.state != "DEAD":
            self.process.calling.call_again(owned)
        else:
            dead = core.Hopeless(owned.task.id, "ACTOR_DIED")
            error = failures.not_made_again(redo.task, owned.task.name, dead, "", 0)
            self.process.calling.fail(owned, error)

    def over(self, owned: Any, error: m.Value | None = None) -> None:
        """A task that may have been one that ran again has ended."""
        task = owned.task.id
        held = self._holding.pop(task, None)
        kept = self.kept.get(task)
        if held is None or kept is None:
            return
        owned.packed.dependencies = ()
        owned.packed.inner = [ref for ref in owned.packed.inner if ref not in held]
        owned.returns, owned.stream = (), None
        for id in [id for id in self.results if id.startswith(task)]:
            entry = self.results[id]
            if entry.kind == m.PENDING:
                missing = error or m.Value(m.ERROR, failures.not_the_same(id, owned.task.name))
                self.process.references.complete(entry, missing)
            if entry.kind != m.STORED:
                self.released(id)
        self._forget(self.lineage.done(task, error is not None))

    def close(self) -> None:
        """Let go of everything: refs that outlive their session keep no mapping of it."""
        for entries in (self.results, self.process.references.known):
            for entry in entries.values():
                self.process.storing.close_view(entry)
        self.results.clear()
        self.kept.clear()
        self._holding.clear()
        self._lineage = None

    def validate(self) -> None:
        """Assert what must hold between any two calls."""
        if self._lineage is not None:
            self._lineage.validate()
            assert self.kept.keys() == self._lineage.recipes.keys()
