"""Processes of a session without a session: the real tables of refs over lines in memory.

`References`, `Handing` and `Asking` are those that run in drivers and executors, the directory is
the control store's. A message is under way until the test delivers it: in order on each line, and
in any order between lines.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from ray_on_dask.core.directory import Directory
from ray_on_dask.core.instructions import Send
from ray_on_dask.ids import INDEX, PUT_INDEX
from ray_on_dask.runtime import object_ref
from ray_on_dask.runtime.asking import Asking
from ray_on_dask.runtime.handing import Handing
from ray_on_dask.runtime.object_ref import Entry, ObjectRef, ref_to
from ray_on_dask.runtime.references import References
from ray_on_dask.wire import messages as m

DIRECTORY, NODE = "directory", "node"


def forget_dropped() -> None:
    """Drop the entries that others have left; theirs may be the last hold of further ones."""
    while object_ref.dropped:
        object_ref.dropped.clear()


@dataclass
class Call:
    """A task that a process has sent to another one."""

    task: bytes
    caller: str
    #: Ids of refs inside its arguments, and arguments that were refs.
    inner: list[bytes]
    dependencies: list[m.Dependency]


@dataclass
class Result:
    """What came of it."""

    task: bytes
    value: m.Value


@dataclass
class Line:
    """One way of a line between two processes, as `Channel` is to be used."""

    sender: Simulated
    to: str

    def send(self, message: object) -> None:
        self.sender.out.append((self.to, message))


@dataclass
class Owed:
    """What a caller keeps until its call has ended."""

    entry: Entry
    by: str
    held: list[ObjectRef[Any]]


class Storage:
    """Stored objects are there until they are freed; nobody looks at their bytes."""

    def __init__(self, process: Simulated):
        self.process = process
        self.opening = SimpleNamespace(
            in_use=lambda entry: False, unviewed=lambda entry: None,
            view_died=lambda entry: None, send_closed=lambda: None,
        )  # fmt: skip

    def free(self, entry: Entry) -> None:
        self.free_at("", entry.id)

    def free_at(self, node: str, id: bytes) -> None:
        self.process.out.append((NODE, m.FreeObjects([id])))

    def nothing(self, *_: Any) -> None:
        pass

    seal = close_view = close_when_idle = send_frees = store_inline = nothing


class Simulated:
    """A driver or executor."""

    def __init__(self, world: World, name: str):
        self.world, self.name = world, name
        self.lock = threading.RLock()
        #: Sent and not delivered: (to whom, message), in the order of sending.
        self.out: list[tuple[str, object]] = []
        #: How many of these are certainly sent, since a later one has arrived.
        self.sent = 0
        self.dropped: deque[Entry] = deque()
        self.references = References(self)  # type: ignore[arg-type]
        self.storing = Storage(self)
        self.recovery = SimpleNamespace(
            results={}, stored=lambda *_: None, released=lambda *_: None, name_of=lambda _: ""
        )
        self.handing = Handing(self)  # type: ignore[arg-type]
        self.asking = Asking(self)  # type: ignore[arg-type]
        self.variables: list[ObjectRef[Any]] = []
        self.owed: dict[bytes, Owed] = {}
        self.queue: deque[Call] = deque()
        #: The result that waits until the directory knows what the task has kept.
        self.unsent: tuple[str, Result] | None = None
        self._made = 0

    def to_hub(self, message: object) -> None:
        self.out.append((DIRECTORY, message))

    def nudge(self) -> None:
        pass

    # -- as the process's user -----------------------------------------------------------------

    def new_task(self) -> bytes:
        self._made += 1
        return bytes.fromhex(self.name) + self._made.to_bytes(8, "little")

    def put(self, inner: list[ObjectRef[Any]], stored: bool) -> ObjectRef[Any]:
        entry = Entry(self.new_task() + PUT_INDEX)
        self.world.fill(entry, [ref._entry.id for ref in inner], stored)
        for ref in inner:
            self.references.make_known(ref)
        entry.share().inner = list(inner)
        return ref_to(entry)

    def call(
        self, other: str, inner: list[ObjectRef[Any]], given: list[ObjectRef[Any]]
    ) -> ObjectRef[Any]:
        task = self.new_task()
        entry = Entry(task + INDEX[0])
        for ref in inner:
            self.references.promote(ref)
        dependencies = []
        for at, ref in enumerate(given):
            if ref._entry.kind == m.STORED:
                self.references.promote(ref)
            value = self.references.value_of(ref._entry)
            dependencies.append(m.Dependency(at, ref._entry.id, value))
        self.owed[task] = Owed(entry, other, [*inner, *given])
        ids = [ref._entry.id for ref in inner]
        self.out.append((other, Call(task, self.name, ids, dependencies)))
        return ref_to(entry)

    def read(self, ref: ObjectRef[Any]) -> list[ObjectRef[Any]]:
        """The refs inside a value; the directory is asked for it if it is not here."""
        entry = ref._entry
        if entry.kind == m.PENDING:
            self.references.when_ready(entry, lambda _: None)
            return []
        if entry.kind in (m.ERROR, m.FREED):
            return []
        return [self.references.received(id) for id in self.world.content[entry.id]]

    # -- as an executor ------------------------------------------------------------------------

    def arguments(self, call: Call) -> list[ObjectRef[Any]]:
        """Begin a task: the refs that it finds in its arguments."""
        self.references.on_trial = []
        found = [self.references.received(id) for id in call.inner]
        for given in call.dependencies:
            if given.value.kind == m.STORED:
                self.references.lent(given.id, given.value)
            if given.value.kind in (m.INLINE, m.STORED):
                found += [self.references.received(id) for id in self.world.content[given.id]]
        return found

    def finish(self, call: Call, returned: list[ObjectRef[Any]], stored: bool) -> None:
        """End it: its refs are handed over, and the result is sent when it may be.

        No value contains itself: such a cycle is kept for ever, by Ray too.
        """
        entry = Entry(call.task + INDEX[0])
        within = self.world.within
        returned[:] = [ref for ref in returned if entry.id not in within([ref._entry.id], True)]
        ids = [ref._entry.id for ref in returned]
        self.world.fill(entry, ids, stored)
        self.world.made[entry.id] = self.world.content.pop(entry.id)
        held = self.references.handing(returned)
        if held:
            self.handing.hold(entry.id, call.caller, held)
        at = entry.data if entry.kind == m.STORED else None
        result = Result(call.task, m.Value(entry.kind, b"", at, ids))
        returned.clear()
        del held
        if self.references.end_of_trial():
            self.unsent = (call.caller, result)
            self.asking._syncs[0] = [self.send_unsent]
            self.to_hub(m.Sync(0))
        else:
            self.out.append((call.caller, result))

    def send_unsent(self) -> None:
        assert self.unsent is not None
        self.out.append(self.unsent)
        self.unsent = None

    # -- messages ------------------------------------------------------------------------------

    def receive(self, sender: str, message: Any) -> None:
        if isinstance(message, m.Resolved):
            self.references.resolved(message.id, message.value)
        elif isinstance(message, m.Synced):
            self.asking.on_synced(None, message)  # type: ignore[arg-type]
        elif isinstance(message, m.Taken):
            self.handing.on_taken(None, message)  # type: ignore[arg-type]
        elif isinstance(message, Call):
            self.queue.append(message)
        elif isinstance(message, Result):
            self.ended(sender, message)

    def ended(self, sender: str, result: Result) -> None:
        owed = self.owed.pop(result.task, None)
        if owed is None:
            self.references.refuse(m.Result(result.task, m.DONE, [result.value]))
        else:
            self.world.content[owed.entry.id] = result.value.inner
            self.references.complete(owed.entry, result.value)
        if self.references.taken:
            self.asking.acknowledge(Line(self, sender))  # type: ignore[arg-type]

    def lose(self, other: str) -> None:
        """Another process is dead: its tasks fail."""
        for task in [task for task, owed in self.owed.items() if owed.by == other]:
            self.references.complete(self.owed.pop(task).entry, m.Value(m.ERROR, b"crashed"))
        self.queue = deque(call for call in self.queue if call.caller != other)
        self.handing.owner_down(other)
        self.handing.tick(float("inf"))


@dataclass
class World:
    """All of them, and the one directory."""

    processes: dict[str, Simulated] = field(default_factory=dict)
    dead: dict[str, Simulated] = field(default_factory=dict)
    #: {object: ids of the refs in it}.
    content: dict[bytes, list[bytes]] = field(default_factory=dict)
    #: Likewise of results, from when they are made.
    made: dict[bytes, list[bytes]] = field(default_factory=dict)
    stored: set[bytes] = field(default_factory=set)
    #: Objects of which the directory has had a value.
    valued: set[bytes] = field(default_factory=set)
    #: From the directory: {process: messages}.
    down: dict[str, list[object]] = field(default_factory=dict)

    #: Worlds before this one: no name occurs in two.
    serial: int = field(default_factory=itertools.count().__next__)
    started: int = 0

    def __post_init__(self) -> None:
        self.directory = Directory(lambda kind, facts: kind.encode())

    def start(self) -> Simulated:
        self.started += 1
        name = (self.serial << 16 | self.started).to_bytes(8, "big").hex()
        process = self.processes[name] = Simulated(self, name)
        return process

    def fill(self, entry: Entry, ids: list[bytes], stored: bool) -> None:
        self.content[entry.id] = ids
        entry.kind, entry.data = m.INLINE, b""
        if stored:
            entry.kind, entry.data = m.STORED, m.Located("n", entry.id.hex(), 0, 1)
            entry.tracked = True
            self.stored.add(entry.id)

    def take_dropped(self, process: Simulated) -> None:
        """What has died just now died in this process, but for garbage of others."""
        known, name = process.references.known, bytes.fromhex(process.name)
        for entry in object_ref.dropped:
            if known.get(entry.id) is entry or (entry.owned and entry.id.startswith(name)):
                process.dropped.append(entry)
        forget_dropped()

    def drain(self, process: Simulated) -> None:
        forget_dropped()
        object_ref.dropped.extend(process.dropped)
        process.dropped.clear()
        process.references.drain()
        self.take_dropped(process)

    # -- messages ------------------------------------------------------------------------------

    def lines(self) -> list[tuple[str, str]]:
        """(from, to) of each line with something under way."""
        senders = [*self.processes.values(), *self.dead.values()]
        found = {(p.name, to): None for p in senders for to, _ in p.out}
        return [*found, *((DIRECTORY, to) for to, messages in self.down.items() if messages)]

    def deliver(self, sender: str, to: str) -> None:
        """Deliver the first message that is under way on a line."""
        if sender == DIRECTORY:
            message = self.down[to].pop(0)
        else:
            out = (self.processes.get(sender) or self.dead[sender]).out
            at = next(at for at, item in enumerate(out) if item[0] == to)
            message = out.pop(at)[1]
            if sender in self.processes:
                process = self.processes[sender]
                process.sent = max(process.sent - (at < process.sent), at)
        if to == DIRECTORY:
            self.tell_directory(sender, message)
        elif to == NODE:
            assert isinstance(message, m.FreeObjects)
            self.free(message.ids)
        elif to in self.processes:
            process = self.processes[to]
            process.receive(sender, message)
            del message
            self.take_dropped(process)

    def tell_directory(self, sender: str, message: Any) -> None:
        directory = self.directory
        if isinstance(message, m.Promote | m.Resolve) and message.value.kind != m.PENDING:
            self.valued.add(message.id)
        if isinstance(message, m.Sync):
            self.carry_out([Send(sender, m.Synced(message.token))])
        elif isinstance(message, m.Hold):
            self.carry_out(directory.hold(message))
        else:
            handle = {
                m.Promote: directory.promote, m.Resolve: directory.resolve,
                m.Release: directory.release, m.Subscribe: directory.subscribe,
            }[type(message)]  # fmt: skip
            self.carry_out(handle(sender, message))

    def carry_out(self, instructions: list[Any]) -> None:
        for what in instructions:
            if isinstance(what.message, m.FreeObjects):
                self.free(what.message.ids)
            else:
                self.down.setdefault(what.to, []).append(what.message)

    def free(self, ids: list[bytes]) -> None:
        reachable = self.reachable()
        for id in ids:
            assert id not in reachable, f"{id.hex()} is freed, and somebody can reach it"
            self.stored.discard(id)

    # -- ends ----------------------------------------------------------------------------------

    def kill(self, process: Simulated, unsent: int) -> None:
        """It dies with its last messages unsent."""
        del self.processes[process.name]
        for _ in range(min(unsent, len(process.out) - process.sent)):
            message = process.out.pop()[1]
            if isinstance(message, Result):
                self.forget(message)
        if process.unsent is not None:
            self.forget(process.unsent[1])
        self.dead[process.name] = process
        process.variables.clear()
        process.owed.clear()
        process.handing._held.clear()
        process.references.known.clear()
        process.dropped.clear()
        forget_dropped()

    def forget(self, result: Result) -> None:
        """Nobody will ever hear of this result."""
        id = result.task + INDEX[0]
        self.made.pop(id, None)
        self.stored.discard(id)

    def lapse(self, process: Simulated) -> None:
        """All that it has said has arrived, and what others have said since."""
        for sender, to in [line for line in self.lines() if line[0] == process.name]:
            while (sender, to) in self.lines():
                self.deliver(sender, to)
        for sender, to in self.lines():
            while to == DIRECTORY and (sender, to) in self.lines():
                self.deliver(sender, to)
        del self.dead[process.name]
        self.carry_out(self.directory.process_lost(process.name))
        name = bytes.fromhex(process.name)
        known = set(self.directory.known_of({name}))
        gone = {id for id in self.stored if id.startswith(name)} - known
        assert not gone & self.valued & self.reachable(), "others had its value"
        self.stored -= gone
        for other in self.processes.values():
            other.lose(process.name)
            self.take_dropped(other)

    # -- the truth -----------------------------------------------------------------------------

    def owed_by(self, name: str) -> dict[bytes, Owed]:
        process = self.processes.get(name)
        return process.owed if process is not None else {}

    def reachable(self) -> set[bytes]:
        """Ids of what a living process can get hold of, now or when a message arrives."""
        todo: list[bytes] = []
        for process in self.processes.values():
            todo += [ref._entry.id for ref in process.variables]
            for owed in process.owed.values():
                todo += [ref._entry.id for ref in owed.held]
        for process in (*self.processes.values(), *self.dead.values()):
            unsent = [process.unsent] if process.unsent and process.name in self.processes else []
            for to, message in (*process.out, *unsent):
                if isinstance(message, Result) and message.task in self.owed_by(to):
                    todo += message.value.inner
        return self.within(todo)

    def has_value(self, id: bytes) -> bool:
        """Whether its owner lives, or has told others the value before it died."""
        owner = id[:8].hex()
        if owner in self.processes or id in self.valued:
            return True
        said = [message for _, message in self.dead[owner].out] if owner in self.dead else []
        kinds = (m.Promote, m.Resolve)
        return any(isinstance(x, kinds) and x.id == id and x.value.kind != 4 for x in said)

    def within(self, todo: list[bytes], unread: bool = False) -> set[bytes]:
        """These, and all that lies in them, to any depth; in results that are `unread` too."""
        found: set[bytes] = set()
        while todo:
            id = todo.pop()
            if id not in found:
                found.add(id)
                if self.has_value(id):
                    todo += self.content.get(id, ())
                todo += self.made.get(id, ()) if unread else ()
        return found
