"""Records as a graph of nodes and edges: each task and object by itself, or grouped by function."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ray_on_dask.ids import TASK_ID_SIZE, index_bytes

#: The root's id: the script.
ROOT = "root"
#: Kinds of nodes.
SCRIPT, TASK, OBJECT = "script", "task", "object"
#: Kinds of edges: what launched what (dashed), data.
LAUNCHED, DATA = "launched", "data"


@dataclass
class Node:
    """A box (script, tasks) or an oval (objects); `count` of them in one if it is a group."""

    id: str
    kind: str
    label: str
    count: int = 1

    @property
    def text(self) -> str:
        """What stands in it."""
        return f"{self.label} × {self.count:,}" if self.count > 1 else self.label


@dataclass
class Graph:
    """Nodes in the order in which they came up, and edges with their numbers."""

    nodes: dict[str, Node] = field(default_factory=dict)
    #: {(from, to, kind): how many}.
    edges: dict[tuple[str, str, str], int] = field(default_factory=dict)

    def add(self, id: str, kind: str, label: str) -> str:
        """A node, or one more in a group."""
        node = self.nodes.get(id)
        if node is None:
            self.nodes[id] = Node(id, kind, label)
        else:
            node.count += 1
        return id

    def join(self, source: str, target: str, kind: str) -> None:
        """An edge."""
        key = (source, target, kind)
        self.edges[key] = self.edges.get(key, 0) + 1


def build(records: Iterable[list[Any]], largest: int) -> Graph:
    """The graph of a program, grouped by function if it has more than `largest` nodes."""
    kept = [_Record(*record) for record in records]
    size = sum(1 + len(record.objects) for record in kept)
    return _Builder(kept, grouped=size > largest).graph


class _Record:
    def __init__(
        self, kind: str, id: bytes, name: str, parent: bytes, returns: int, arguments: list[bytes],
        value: bytes, actor: bytes,
    ):  # fmt: skip
        self.kind, self.id, self.name, self.parent = kind, bytes(id), name, bytes(parent)
        self.arguments, self.actor = [bytes(x) for x in arguments], bytes(actor)
        made = [bytes(id) + index_bytes(i) for i in range(max(0, returns))]
        self.objects = [bytes(value)] if value else made


class _Builder:
    def __init__(self, records: list[_Record], grouped: bool):
        self.graph, self.grouped = Graph(), grouped
        self.graph.add(ROOT, SCRIPT, "script")
        self._records = {record.id: record for record in records}
        for record in records:
            self._nodes(record)
        for record in records:
            self._edges(record)

    def _name(self, record: _Record) -> str:
        """The node of a task, an actor or a call; a put has none."""
        return f"{record.kind}:{record.name}" if self.grouped else record.id.hex()

    def _object(self, id: bytes) -> str:
        record = self._records.get(id[:TASK_ID_SIZE])
        if self.grouped and record is not None:
            return f"object:{self._name(record)}"
        return f"object:{id.hex()}"

    def _nodes(self, record: _Record) -> None:
        if record.kind != "put":
            word = f"actor {record.name}" if record.kind == "actor" else record.name
            self.graph.add(self._name(record), TASK, word)
        for id in record.objects:
            self.graph.add(self._object(id), OBJECT, _object_label(record, self.grouped))

    def _launcher(self, record: _Record) -> str:
        parent = self._records.get(record.parent)
        return ROOT if parent is None else self._name(parent)

    def _edges(self, record: _Record) -> None:
        join = self.graph.join
        if record.kind == "put":
            for id in record.objects:
                join(self._launcher(record), self._object(id), DATA)
            return
        me = self._name(record)
        join(self._launcher(record), me, LAUNCHED)
        maker = self._records.get(record.actor)
        if maker is not None:  # a call needs its actor
            join(self._name(maker), me, DATA)
        for id in record.arguments:
            name = self._object(id)
            if name not in self.graph.nodes:  # it was made before anything was recorded
                self.graph.add(name, OBJECT, "object")
            join(name, me, DATA)
        for id in record.objects:
            join(me, self._object(id), DATA)


def _object_label(record: _Record, grouped: bool) -> str:
    if record.kind == "put":
        return "put"
    if grouped:
        return f"results of {record.name}"
    number = int.from_bytes(record.id[8:], "little")
    return f"{number}"
