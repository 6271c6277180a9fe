"""What the directory is made of: entries, counters, subscriptions, and their indexes.

`RefTable` keeps them consistent whatever is done to it; what an event means is decided in
`directory.py`. Changes are gathered in a `Work`: entries that may be unreachable by now are
noted as doubtful and looked at once, at the end, by `finish`, which deletes with a list in
place of recursion, since values may be nested 50,000 deep.
"""

from __future__ import annotations

from collections import Counter

from ray_on_dask.core.departed import Departed
from ray_on_dask.core.instructions import HandlesGone, Instruction, Send
from ray_on_dask.ids import ActorID
from ray_on_dask.wire.messages import (
    FREED,
    PENDING,
    STORED,
    FreeObjects,
    Resolved,
    Value,
)  # fmt: skip

NO_VALUE = Value(FREED)
HANDLE_SIZE = ActorID.SIZE


class Entry:
    """What is known of one id."""

    __slots__ = (
        "containers", "debts", "holders", "label", "owner", "subscribers", "to_free", "value",
        "wanted",
    )  # fmt: skip

    def __init__(self) -> None:
        #: Nothing for a placeholder; PENDING with an `at` for one that is lost.
        self.value: Value | None = None
        #: Process that promoted it last, and what it is called.
        self.owner = ""
        self.label = ""
        #: Processes whose counter is positive, and negative.
        self.holders = 0
        self.debts = 0
        #: How often it occurs in the values of the table.
        self.containers = 0
        #: Processes to tell its value, in order.
        self.subscribers: dict[str, None] | None = None
        #: Somebody blocks on it (kept for a placeholder only).
        self.wanted = False
        #: It was freed before the word of its value was here (`RefTable.to_free`).
        self.to_free = False


class Work:
    """What one event has set off: instructions, entries in doubt, stored bytes to free."""

    __slots__ = ("doubtful", "forced", "freed", "out")

    def __init__(self, forced: bool = False) -> None:
        #: Whether stored bytes are freed although there are refs.
        self.forced = forced
        self.out: list[Instruction] = []
        self.doubtful: list[bytes] = []
        self.freed: dict[str, list[bytes]] = {}


class RefTable:
    """Entries by id, and who has to do with them."""

    def __init__(self) -> None:
        self.entries: dict[bytes, Entry] = {}
        #: {process: {id: counter}}; no counter is zero.
        self.counts: dict[str, dict[bytes, int]] = {}
        #: {owner: ids of its pending entries}.
        self.pending: dict[str, dict[bytes, None]] = {}
        #: {node: ids of values stored there}.
        self.stored: dict[str, dict[bytes, None]] = {}
        #: {process: ids it waits for}.
        self.subscriptions: dict[str, dict[bytes, None]] = {}
        #: Placeholders with subscribers.
        self.awaited: dict[bytes, None] = {}
        #: {entry that was freed before the word of its value was here: whether that is certain}.
        self.to_free: dict[bytes, bool] = {}
        self.placeholders = 0
        self.lost_nodes = Departed()
        #: Bytes of inline values and errors.
        self.inline_bytes = 0

    def entry(self, id: bytes) -> Entry:
        """The entry of `id`; a new placeholder if it has none."""
        entry = self.entries.get(id)
        if entry is None:
            entry = self.entries[id] = Entry()
            self.placeholders += 1
        return entry

    def count(self, process: str, id: bytes, entry: Entry, change: int, work: Work) -> None:
        """Add `change`, not zero, to the counter of `process` for `id`."""
        counts = self.counts.get(process)
        if counts is None:
            counts = self.counts[process] = {}
        before = counts.get(id, 0)
        after = before + change
        if after:
            counts[id] = after
        else:
            del counts[id]
        entry.holders += (after > 0) - (before > 0)
        entry.debts += (after < 0) - (before < 0)
        if after <= 0:
            work.doubtful.append(id)

    def forget_process(self, process: str, work: Work) -> None:
        """Drop what the process holds and waits for."""
        for id in list(self.subscriptions.get(process, ())):
            self.unsubscribe(process, id, work)
        self.subscriptions.pop(process, None)
        for id, count in self.counts.pop(process, {}).items():
            entry = self.entries[id]
            entry.holders -= count > 0
            entry.debts -= count < 0
            work.doubtful.append(id)

    def subscribe(self, process: str, id: bytes, entry: Entry) -> None:
        """Note that `process` waits for the value."""
        if entry.subscribers is None:
            entry.subscribers = {}
        entry.subscribers[process] = None
        self.subscriptions.setdefault(process, {})[id] = None
        if entry.value is None:
            self.awaited[id] = None

    def unsubscribe(self, process: str, id: bytes, work: Work) -> None:
        """The process waits no more."""
        entry = self.entries[id]
        assert entry.subscribers is not None
        del entry.subscribers[process]
        if not entry.subscribers:
            entry.subscribers = None
            self.awaited.pop(id, None)
            work.doubtful.append(id)

    def tell(self, id: bytes, entry: Entry, value: Value, work: Work) -> None:
        """Send the value to all who wait for it, who then wait no more."""
        for process in entry.subscribers or ():
            del self.subscriptions[process][id]
            work.out.append(Send(process, Resolved(id, value)))
        entry.subscribers = None
        self.awaited.pop(id, None)

    def fill(self, id: bytes, entry: Entry, value: Value, work: Work) -> None:
        """Give a value, or the promise of one, to a placeholder. A STORED one has an `at`."""
        self.placeholders -= 1
        entry.value = value
        self.inline_bytes += len(value.data)
        for inner in value.inner:
            self.entry(inner).containers += 1
        if value.kind == PENDING:
            self.pending.setdefault(entry.owner, {})[id] = None
        else:
            if value.kind == STORED:
                self.stored.setdefault(value.at.node, {})[id] = None  # type: ignore[union-attr]
            if entry.subscribers:
                self.tell(id, entry, value, work)
        # A promised value is told when it comes, a placeholder's promise is kept now.
        if entry.subscribers:
            self.awaited.pop(id, None)

    def clear(self, id: bytes, entry: Entry, work: Work) -> Value:
        """Take the value away, with all that hangs on it, which leaves a placeholder."""
        value = entry.value
        assert value is not None
        entry.value = None
        self.placeholders += 1
        self.inline_bytes -= len(value.data)
        if value.kind == PENDING:
            del self.pending[entry.owner][id]
        elif value.kind == STORED and value.at is not None:
            del self.stored[value.at.node][id]
            self.free_stored(id, value.at.node, work)
        for inner in value.inner:
            contained = self.entries[inner]
            contained.containers -= 1
            if not contained.containers:
                work.doubtful.append(inner)
        return value

    def free_stored(self, id: bytes, node: str, work: Work) -> None:
        """Have the node free its bytes of `id`, if there still is such a node."""
        if node not in self.lost_nodes:
            work.freed.setdefault(node, []).append(id)

    def delete_unreachable(self, work: Work) -> None:
        """Delete what nothing holds of the entries in doubt, and of what only they contained."""
        while work.doubtful:
            id = work.doubtful.pop()
            entry = self.entries.get(id)
            if entry is None or entry.holders or entry.containers:
                continue
            if entry.value is not None:
                self.clear(id, entry, work)
                # Only a subscriber whose hold was lost with a killed process is still here.
                self.tell(id, entry, NO_VALUE, work)
                if len(id) == HANDLE_SIZE:
                    work.out.append(HandlesGone(id))
            if not (entry.debts or entry.subscribers or entry.to_free):
                del self.entries[id]
                self.placeholders -= 1

    def finish(self, work: Work) -> list[Instruction]:
        """Delete what has become unreachable; the instructions of all that was done."""
        self.delete_unreachable(work)
        for node, ids in work.freed.items():
            work.out.append(Send(node, FreeObjects(ids, forced=work.forced)))
        return work.out

    def validate(self) -> None:
        """Check every index against the entries; `AssertionError` tells what disagrees."""
        holders, debts = self._recount()
        containers = Counter(i for e in self.entries.values() if e.value for i in e.value.inner)
        inline = 0
        for id, entry in self.entries.items():
            value = entry.value
            assert entry.holders == holders[id] and entry.debts == debts[id], id
            assert entry.containers == containers[id], id
            assert value is None or entry.holders or entry.containers, f"{id!r} should be gone"
            assert value is not None or self._is_needed(entry), f"{id!r} should be forgotten"
            assert not entry.subscribers or value is None or value.kind == PENDING, id
            assert (id in self.awaited) == (value is None and bool(entry.subscribers)), id
            for process in entry.subscribers or ():
                assert id in self.subscriptions[process], id
            inline += len(value.data) if value else 0
            assert entry.to_free == (id in self.to_free), id
            assert not entry.to_free or value is None or value.kind == PENDING, id
        assert inline == self.inline_bytes
        assert self.placeholders == sum(e.value is None for e in self.entries.values())
        assert set(containers) | set(holders) | set(debts) | set(self.to_free) <= set(self.entries)
        self._validate_indexes()

    def _recount(self) -> tuple[Counter[bytes], Counter[bytes]]:
        counted = [item for counts in self.counts.values() for item in counts.items()]
        assert all(n for _, n in counted)
        return Counter(i for i, n in counted if n > 0), Counter(i for i, n in counted if n < 0)

    @staticmethod
    def _is_needed(entry: Entry) -> bool:
        """Whether a placeholder still stands for something."""
        counted = entry.holders or entry.debts or entry.containers
        return bool(counted or entry.subscribers or entry.to_free)

    def _validate_indexes(self) -> None:
        values = [(i, e, e.value) for i, e in self.entries.items() if e.value is not None]
        pending = {(e.owner, i) for i, e, v in values if v.kind == PENDING}
        stored = {(v.at.node, i) for i, _, v in values if v.kind == STORED and v.at}
        waiting = {(p, i) for i, e in self.entries.items() for p in e.subscribers or ()}
        for index, expected in (
            (self.pending, pending), (self.stored, stored), (self.subscriptions, waiting),
        ):  # fmt: skip
            assert {(name, i) for name, ids in index.items() for i in ids} == expected
