"""The stored objects of one node: which there are, which are garbage, whose files they lie in.

Objects are made known by their writers and freed by their owners or by the directory, who
talk on different lines: a free that comes first leaves a tombstone. The files of a writer that is
gone stay until the last object in them is.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from ray_on_dask.wire.messages import Located

#: Tombstones kept: a seal follows its early free within milliseconds.
TOMBSTONES = 10_000
#: Objects of a dead writer that owners are asked about: results not told yet are never more.
LAST_WRITTEN = 1_000


@dataclass(slots=True, frozen=True)
class Stored:
    """An object as the node knows it."""

    id: bytes
    at: Located
    key: str
    writer: str


@dataclass(slots=True, frozen=True)
class TellWriter:
    """The writer may use this space again."""

    writer: str
    place: Located


@dataclass(slots=True, frozen=True)
class RemoveFile:
    """No object lies in this file any more, and its writer is gone."""

    path: str


@dataclass(slots=True, frozen=True)
class PunchHole:
    """Nobody will write here again: the memory, or disk, behind it can go."""

    place: Located


@dataclass(slots=True, frozen=True)
class KeepOnly:
    """Of this file, of a writer that is gone, only these (offset, size) are objects."""

    path: str
    kept: tuple[tuple[int, int], ...]


Instruction = TellWriter | RemoveFile | PunchHole | KeepOnly

#: Stands for the writer of what lies on disk: nobody to be told of anything.
DISK = ""


@dataclass(slots=True)
class StoredObjects:
    """The state machine."""

    objects: dict[bytes, Stored] = field(default_factory=dict)
    #: {file: number of objects in it}.
    files: dict[str, int] = field(default_factory=dict)
    #: {writer: bytes of its objects}.
    written: dict[str, int] = field(default_factory=dict)
    #: {id: what a second run of its task has written}. Which of the runs its owner has heard of is
    #: not known here, so the places of all are kept until the object is freed.
    again: dict[bytes, list[Stored]] = field(default_factory=dict)
    _gone: set[str] = field(default_factory=lambda: {DISK})
    _dead_owners: set[bytes] = field(default_factory=set)
    _tombstones: OrderedDict[bytes, None] = field(default_factory=OrderedDict)

    def sealed(self, writer: str, id: bytes, at: Located, key: str) -> list[Instruction]:
        """A writer has an object ready."""
        if id in self._tombstones or id[:8] in self._dead_owners:
            self._tombstones.pop(id, None)
            return self._free_place(writer, at)
        stored = Stored(id, at, key, writer)
        if id in self.objects:
            self.again.setdefault(id, []).append(stored)
        else:
            self.objects[id] = stored
        self._count(stored)
        return []

    def _count(self, stored: Stored) -> None:
        at = stored.at
        self.files[at.segment] = self.files.get(at.segment, 0) + 1
        self.written[stored.writer] = self.written.get(stored.writer, 0) + at.size

    def moved(self, id: bytes, at: Located) -> list[Instruction]:
        """An object lies on disk from now on: what is to be done with its old place."""
        old = self.objects[id]
        out = self._remove(old)
        self.objects[id] = stored = Stored(id, at, old.key, DISK)
        self._count(stored)
        return out

    def freed(self, id: bytes) -> list[Instruction]:
        """Nobody can reach this object any more."""
        stored = self.objects.pop(id, None)
        if stored is None:
            self._tombstones[id] = None
            if len(self._tombstones) > TOMBSTONES:
                self._tombstones.popitem(last=False)
            return []
        return [x for copy in (stored, *self.again.pop(id, ())) for x in self._remove(copy)]

    def _remove(self, stored: Stored) -> list[Instruction]:
        at, writer = stored.at, stored.writer
        for counts, name, count in ((self.files, at.segment, 1), (self.written, writer, at.size)):
            left = counts[name] - count
            if left:
                counts[name] = left
            else:
                del counts[name]
        return self._free_place(writer, at)

    def unwanted(self, id: bytes, at: Located) -> list[Instruction]:
        """The object at this place is nobody's: its owner has another one, or none."""
        stored, others = self.objects.get(id), self.again.get(id, [])
        if stored is not None and stored.at == at:
            if not others:
                return self.freed(id)
            self.objects[id] = others.pop(0)
        else:
            stored = next((other for other in others if other.at == at), None)
            if stored is None:
                return []
            others.remove(stored)
        if not others:
            del self.again[id]
        return self._remove(stored)

    def unheard(self, writer: str) -> dict[str, list[tuple[bytes, Located]]]:
        """A process is gone: the last objects that it wrote for other owners, by owner."""
        left, owners = self.written.get(writer, 0), dict[str, list[tuple[bytes, Located]]]()
        count = 0
        for stored in reversed(list(self._all()) if left else []):
            if left <= 0 or count >= LAST_WRITTEN:
                break
            if stored.writer != writer:
                continue
            left -= stored.at.size
            owner = stored.id[:8].hex()
            if owner != writer:
                count += 1
                owners.setdefault(owner, []).append((stored.id, stored.at))
        return owners

    def was_freed(self, id: bytes) -> bool:
        """Whether the object, not sealed yet, will be garbage when it is."""
        return id in self._tombstones or id[:8] in self._dead_owners

    def _free_place(self, writer: str, at: Located) -> list[Instruction]:
        if writer not in self._gone:
            return [TellWriter(writer, at)]
        return [PunchHole(at) if at.segment in self.files else RemoveFile(at.segment)]

    def owner_gone(self, owner: bytes, keep: set[bytes]) -> list[bytes]:
        """A process is dead: the ids that it made and nobody else knows, to be freed.

        What is written for it from now on is garbage at once.
        """
        self._dead_owners.add(owner)
        return [id for id in self.objects if id[:8] == owner and id not in keep]

    def writer_gone(self, writer: str, files: list[str]) -> list[Instruction]:
        """A process is gone that had these files: what no object needs of them goes too."""
        self._gone.add(writer)
        kept: dict[str, list[tuple[int, int]]] = {path: [] for path in files if path in self.files}
        for stored in self._all() if kept else ():
            if stored.at.segment in kept:
                kept[stored.at.segment].append((stored.at.offset, stored.at.size))
        out: list[Instruction] = [RemoveFile(path) for path in files if path not in kept]
        return out + [KeepOnly(path, tuple(sorted(ranges))) for path, ranges in kept.items()]

    def is_gone(self, writer: str) -> bool:
        """Whether the process is gone."""
        return writer in self._gone

    def _all(self) -> Iterator[Stored]:
        yield from self.objects.values()
        for copies in self.again.values():
            yield from copies

    def bytes_of(self, writer: str) -> int:
        """Bytes of the objects that a process has written, and that lie where it wrote them."""
        return self.written.get(writer, 0)

    def validate(self) -> None:
        """Assert that the counts are those of the objects."""
        counts: dict[str, int] = {}
        sizes: dict[str, int] = {}
        for stored in self._all():
            counts[stored.at.segment] = counts.get(stored.at.segment, 0) + 1
            sizes[stored.writer] = sizes.get(stored.writer, 0) + stored.at.size
        assert counts == self.files and sizes == self.written
        assert self.again.keys() <= self.objects.keys()
        assert not set(self.objects) & set(self._tombstones)
