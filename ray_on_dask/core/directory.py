"""The table of every ref that has left its owner's process: who holds it, what and where it is.

Each process counts its own holds here; the counters are *signed*, because a `Hold` that one
process sends for another may arrive after the other's `Release`. An entry is deleted when no
counter is positive and no value in the table contains it. That is safe: take the first-sent of
the holds still on their way; all that its sender built upon has arrived, so the sender itself
still counts here as a holder. Hence no positive counter means no hold is on its way, as long as
processes keep to one rule: *whoever names a new holder holds, until that message is sent*. For
one who registers itself, the lender does; it releases none of its holds before that arrives, since
a part of them would be those that have arrived here, and the rest could still be on their way.

An entry without a value is a placeholder: it is known from a hold, a release, a subscription or
a containing value that overtook its `Promote`. It goes when nothing counts there any more.

A value on a node that is lost makes its entry pending again, and its owner is told by
`Resolved(id, Value(FREED, at=<where it was>))`, which no owner gets for any other reason: it
answers with `Resolve`, the value made again or an error. Subscribers wait meanwhile; if the owner
is dead, or dies before it answers, they get `ObjectLostError`.

Actor handles live here too, under the actor's id: their creator promotes them with an empty
INLINE value, and their deletion is told as `HandlesGone`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

from ray_on_dask.core.departed import Departed, promised_owner
from ray_on_dask.core.instructions import Instruction, Send
from ray_on_dask.core.ref_table import NO_VALUE, Entry, RefTable, Work
from ray_on_dask.wire.messages import (
    ERROR,
    FREED,
    INLINE,
    PENDING,
    STORED,
    FreeRefs,
    Hold,
    Located,
    Missing,
    Promote,
    Release,
    Resolve,
    Resolved,
    Subscribe,
    Value,
    WaitingFor,
)  # fmt: skip

STATES = {INLINE: "INLINE", STORED: "STORED", ERROR: "ERROR", FREED: "FREED", PENDING: "PENDING"}


class Directory:
    """The state machine: each method takes one event and gives back what is to be done.

    Parameters
    ----------
    make_error : callable
        `make_error(kind, facts)` gives a pickled exception of class `kind`.
    owner_of : callable, optional
        The process that is to promote an id not promoted yet, "" if nobody knows. By default
        the one named by the id's first 8 bytes.
    """

    def __init__(
        self,
        make_error: Callable[[str, dict[str, Any]], bytes],
        owner_of: Callable[[bytes], str] = promised_owner,
    ) -> None:
        self._make_error = make_error
        self._owner_of = owner_of
        self._table = RefTable()
        self._dead = Departed()

    def __contains__(self, id: bytes) -> bool:
        """Whether `id` has an entry that is more than a placeholder."""
        entry = self._table.entries.get(id)
        return entry is not None and entry.value is not None

    @property
    def inline_bytes(self) -> int:
        """Bytes of inline values and pickled errors in the table."""
        return self._table.inline_bytes

    # -- events ------------------------------------------------------------------

    def promote(self, sender: str, message: Promote) -> list[Instruction]:
        """A ref is known outside from now on; its owner `sender` holds it once more.

        Of a dead sender only the value counts, for those who hold the ref by now.
        """
        id, work = message.id, Work()
        entry = self._table.entry(id)
        if sender not in self._dead:
            self._table.count(sender, id, entry, 1, work)
        old = entry.value
        if old is None:
            entry.owner, entry.label = sender, message.label
            if entry.wanted and message.value.kind == PENDING:
                work.out.append(Send(sender, WaitingFor([id])))
            entry.wanted = False
            self._fill(id, entry, message.value, work)
        else:
            self._promote_again(sender, message, entry, work)
        if not entry.holders:
            work.doubtful.append(id)
        return self._table.finish(work) if work.doubtful or work.freed else work.out

    def resolve(self, sender: str, message: Resolve) -> list[Instruction]:
        """A pending or lost ref has its value. Dropped if it has one, or another owner."""
        id, work = message.id, Work()
        entry = self._table.entry(id)
        old = entry.value
        if old is None:
            # Deleted while pending, unless others hold what a dead owner did not promote.
            entry.owner = sender
            self._fill(id, entry, message.value, work)
        elif old.kind == PENDING and entry.owner == sender:
            self._table.clear(id, entry, work)
            self._fill(id, entry, message.value, work)
        else:
            self._reject(id, entry, message.value, work)
        if not entry.holders:
            work.doubtful.append(id)
        return self._table.finish(work) if work.doubtful or work.freed else work.out

    def hold(self, message: Hold) -> list[Instruction]:
        """`message.holder` holds the ref once more; ignored if it is dead."""
        id, work = message.id, Work()
        if message.holder not in self._dead:
            self._table.count(message.holder, id, self._table.entry(id), 1, work)
        return self._table.finish(work) if work.doubtful else work.out

    def release(self, sender: str, message: Release) -> list[Instruction]:
        """`sender` lets go; what nobody can reach then is deleted."""
        work = Work()
        if sender not in self._dead:
            for id, times in message.ids:
                if times > 0:
                    self._table.count(sender, id, self._table.entry(id), -times, work)
        return self._table.finish(work)

    def subscribe(self, sender: str, message: Subscribe) -> list[Instruction]:
        """Tell `sender` each value, once, as soon as there is one."""
        work = Work()
        if sender not in self._dead:
            for id in message.ids:
                self._subscribe(sender, id, work)
        return self._table.finish(work)

    def waiting_for(self, sender: str, message: WaitingFor) -> list[Instruction]:
        """`sender` is blocked on these: tell the owners of those that are pending."""
        owners: dict[str, list[bytes]] = {}
        for id in message.ids:
            entry = self._table.entries.get(id)
            if entry is None:
                continue
            if entry.value is None:
                entry.wanted = True
            elif entry.value.kind == PENDING and entry.owner != sender:
                owners.setdefault(entry.owner, []).append(id)
        return [Send(owner, WaitingFor(ids)) for owner, ids in owners.items()]

    def free(self, message: FreeRefs) -> list[Instruction]:
        """Free the values of these, whoever holds them; pending ones and errors stay.

        The word of a value may be still on its way: it is freed then when it comes.
        """
        work = Work()
        for id in message.ids:
            self._free(id, self._table.entry(id), message.seen, work)
        return self._table.finish(work)

    def process_lost(self, name: str) -> list[Instruction]:
        """The process is dead, for longer than any message from it or to it takes.

        Its holds lapse, what it owned and had not resolved fails with `OwnerDiedError`, and
        whatever names it later is ignored.
        """
        work = Work()
        if name in self._dead:
            return work.out
        self._dead.add(name)
        self._table.forget_process(name, work)
        self._table.delete_unreachable(work)
        self._fail_promises(name, work)
        return self._table.finish(work)

    def node_lost(
        self, node: str, copies: Mapping[bytes, Located] | None = None
    ) -> list[Instruction]:
        """What is stored on `node` is lost, but for ids of which there are `copies` elsewhere."""
        work = Work()
        self._table.lost_nodes.add(node)
        for id in list(self._table.stored.get(node, ())):
            entry = self._table.entries[id]
            old = self._table.clear(id, entry, work)
            at = (copies or {}).get(id, old.at)
            self._fill(id, entry, Value(STORED, b"", at, old.inner), work)
        self._table.stored.pop(node, None)
        return self._table.finish(work)

    def missing(self, message: Missing) -> list[Instruction]:
        """A value is not where it should be; ignored if it lies elsewhere by now."""
        id, at, work = message.id, message.at, Work()
        entry = self._table.entries.get(id)
        if entry is None or entry.value is None or entry.value.at != at:
            return work.out
        if entry.value.kind == STORED:
            old = self._table.clear(id, entry, work)
            self._table.fill(id, entry, self._lost(id, entry, old, work), work)
        return self._table.finish(work)

    def _subscribe(self, process: str, id: bytes, work: Work) -> None:
        entry = self._table.entry(id)
        if entry.value is None and self._owner_of(id) in self._dead:
            entry.owner = self._owner_of(id)
            self._fill(id, entry, Value(PENDING), work)
            work.doubtful.append(id)
        if entry.value is not None and entry.value.kind != PENDING:
            work.out.append(Send(process, Resolved(id, entry.value)))
        else:
            self._table.subscribe(process, id, entry)

    # -- decisions -----------------------------------------------------------------

    def _fill(self, id: bytes, entry: Entry, value: Value, work: Work) -> None:
        if value.kind == PENDING or value.kind == STORED:
            value = self._as_it_is(id, entry, value, work)
        self._table.fill(id, entry, value, work)
        if entry.to_free:
            entry.to_free = False
            self._free(id, entry, self._table.to_free.pop(id), work)

    def _free(self, id: bytes, entry: Entry, seen: bool, work: Work) -> None:
        """Free a value; `seen` if there is one, whatever is known of it here."""
        value = entry.value
        if value is None:
            entry.to_free = self._owner_of(id) not in self._dead
        elif value.kind == PENDING and value.at is None:
            entry.to_free = seen
        elif value.kind in (INLINE, STORED, PENDING):
            work.forced = True
            self._table.clear(id, entry, work)
            self._fill(id, entry, NO_VALUE, work)
            if entry.owner not in self._dead:
                work.out.append(Send(entry.owner, Resolved(id, NO_VALUE)))
        if entry.to_free:
            self._table.to_free[id] = seen or self._table.to_free.get(id, False)
        else:
            work.doubtful.append(id)

    def _as_it_is(self, id: bytes, entry: Entry, value: Value, work: Work) -> Value:
        """The value in the light of what has died: the same, lost, or an error."""
        at = value.at
        if value.kind == STORED:
            if at is None:
                return NO_VALUE
            if at.node not in self._table.lost_nodes:
                return value
        return self._lost(id, entry, value, work)

    def _lost(self, id: bytes, entry: Entry, value: Value, work: Work) -> Value:
        """What becomes of a value that nobody has: its owner makes it again, or it is an error."""
        at = value.at
        if entry.owner in self._dead:
            return Value(ERROR, self._owner_died(id, entry, at))
        if value.kind == STORED:
            work.out.append(Send(entry.owner, Resolved(id, Value(FREED, b"", at))))
        return Value(PENDING, b"", at, value.inner)

    def _owner_died(self, id: bytes, entry: Entry, at: Located | None) -> bytes:
        kind = "OwnerDiedError" if at is None else "ObjectLostError"
        facts = {"id": id.hex(), "owner": entry.owner, "label": entry.label}
        return self._make_error(kind, facts | ({"node": at.node} if at else {}))

    def _reject(self, id: bytes, entry: Entry, value: Value, work: Work) -> None:
        """Free the bytes of a value that came too late, unless the entry's own lie there too."""
        ours = entry.value.at.node if entry.value is not None and entry.value.at else ""
        if value.kind == STORED and value.at is not None and value.at.node != ours:
            self._table.free_stored(id, value.at.node, work)

    def _promote_again(self, sender: str, message: Promote, entry: Entry, work: Work) -> None:
        """The same id once more: from its owner, or from a second run of the task that made it."""
        old, new = entry.value, message.value
        assert old is not None
        alive, other = sender not in self._dead, sender != entry.owner
        if old.kind == PENDING:
            replace = alive if other else new.kind != PENDING
        else:
            replace = old.kind == ERROR and alive and other
        if replace:
            self._table.clear(message.id, entry, work)
            entry.owner = sender
            self._fill(message.id, entry, new, work)
            return
        self._reject(message.id, entry, new, work)
        if alive and entry.owner in self._dead:
            entry.owner = sender

    def _fail_promises(self, owner: str, work: Work) -> None:
        """What this dead process owned and nobody has the value of is an error from now on."""
        table = self._table
        for id in list(table.pending.get(owner, ())):
            entry = table.entries[id]
            self._fill(id, entry, table.clear(id, entry, work), work)
        table.pending.pop(owner, None)
        for id in [i for i in table.to_free if self._owner_of(i) == owner]:
            del table.to_free[id]
            table.entries[id].to_free = False
            work.doubtful.append(id)
        for id in [i for i in table.awaited if self._owner_of(i) == owner]:
            entry = table.entries[id]
            entry.owner = owner
            self._fill(id, entry, Value(PENDING), work)
            work.doubtful.append(id)

    # -- for people and tests ------------------------------------------------------

    def stats(self) -> dict[str, int]:
        """How much there is in the table: entries and the rest, in numbers; bytes inline."""
        table = self._table
        return {
            "entries": len(table.entries) - table.placeholders,
            "placeholders": table.placeholders,
            "pending": sum(map(len, table.pending.values())),
            "stored": sum(map(len, table.stored.values())),
            "holds": sum(map(len, table.counts.values())),
            "subscriptions": sum(map(len, table.subscriptions.values())),
            "inline_bytes": table.inline_bytes,
        }

    def node_of(self, id: bytes) -> list[str]:
        """The node that a value lies on; nothing if it lies nowhere, or is not known here."""
        entry = self._table.entries.get(id)
        at = entry.value.at if entry is not None and entry.value is not None else None
        return [] if at is None else [at.node]

    def stored_on(self, node: str) -> list[bytes]:
        """Ids of the values that lie on this node."""
        return list(self._table.stored.get(node, ()))

    def known_of(self, owners: set[bytes]) -> list[bytes]:
        """Ids of stored values that these processes (their names as bytes) made."""
        stored = (id for ids in self._table.stored.values() for id in ids)
        return [id for id in stored if id[:8] in owners]

    def owing(self) -> list[str]:
        """The processes that have promised values which are not there yet."""
        return [owner for owner, ids in self._table.pending.items() if ids]

    def contents(self) -> list[tuple[bytes, list[bytes]]]:
        """(id, ids of the refs in it) of each value that has any."""
        entries = self._table.entries.items()
        return [(id, x.value.inner) for id, x in entries if x.value is not None and x.value.inner]

    def entries(self, limit: int | None = None) -> list[dict[str, Any]]:
        """One dictionary for each of the first `limit` ids, placeholders (UNKNOWN) included.

        Keys: `object_id` (hex), `state`, `label`, `owner`, `node`, `size` (bytes), `holders`
        ({process: count}), `containers` (values that contain it), `waiting` (subscribers).
        """
        chosen = dict(islice(self._table.entries.items(), limit))
        holders: dict[bytes, dict[str, int]] = {id: {} for id in chosen}
        for process, counts in self._table.counts.items():
            for id in counts.keys() & chosen.keys():
                holders[id][process] = counts[id]
        return [_facts(id, entry, holders[id]) for id, entry in chosen.items()]

    def validate(self) -> None:
        """Check the table against itself; `AssertionError` tells what disagrees."""
        table = self._table
        table.validate()
        assert not self._dead.keys() & (table.counts.keys() | table.subscriptions.keys())
        assert not self._dead.keys() & table.pending.keys()
        assert not any(table.stored.get(node) for node in table.lost_nodes)
        assert not any(self._owner_of(id) in self._dead for id in table.awaited)


def _facts(id: bytes, entry: Entry, holders: dict[str, int]) -> dict[str, Any]:
    value = entry.value
    at = value.at if value else None
    state = "UNKNOWN" if value is None else STATES[value.kind]
    return {
        "object_id": id.hex(),
        "state": "LOST" if state == "PENDING" and at else state,
        "label": entry.label,
        "owner": entry.owner,
        "node": at.node if at else "",
        "size": at.size if at else len(value.data) if value else 0,
        "holders": holders,
        "containers": entry.containers,
        "waiting": len(entry.subscribers or ()),
    }
