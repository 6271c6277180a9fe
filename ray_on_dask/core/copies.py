"""Which nodes have copies of an object beside the one where it was made: decisions only.

An object's *home* is the node where its value was written; it is what owners and directory know. A
node that has read an object from another host keeps the copy until the object is freed; it says
so here. The home does not know where copies have gone, only that there may be some: when the object
is freed it says so, and every copy is freed too. When a home dies, one of the copies is the home.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container, Iterable, Mapping

from ray_on_dask.core.instructions import Instruction, Send
from ray_on_dask.core.members import NodeFacts
from ray_on_dask.wire.messages import Copied, CopiesFreed, FreeObjects, Located

#: Frees remembered for copies of which the word is still on its way.
TOMBSTONES = 10_000


class Copies:
    """The state machine."""

    def __init__(self) -> None:
        #: {object: {node: where its copy is}}.
        self._copies: dict[bytes, dict[str, Located]] = {}
        #: {object that has copies, or whose first home is gone: its home}.
        self._homes: dict[bytes, str] = {}
        #: {node: objects of which it has copies, or is the home}.
        self._of_node: dict[str, set[bytes]] = {}
        #: Objects whose first home is gone: their owners may not know.
        self._moved: set[bytes] = set()
        #: (object, home that said that it is garbage).
        self._tombstones: OrderedDict[tuple[bytes, str], None] = OrderedDict()

    def __len__(self) -> int:
        return sum(map(len, self._copies.values()))

    def copied(self, node: str, message: Copied) -> list[Instruction]:
        """A node has a copy from now on; if the object is garbage by now, it is to be dropped."""
        id = message.id
        if (id, message.home) in self._tombstones:
            return [Send(node, FreeObjects([id]))]
        home = self._homes.get(id, message.home)
        if node != home:
            self._homes[id] = home
            self._copies.setdefault(id, {})[node] = message.at
            for name in (node, home):
                self._of_node.setdefault(name, set()).add(id)
        return []

    def freed(self, node: str, message: CopiesFreed) -> list[Instruction]:
        """A node has freed these: so do all others that have copies."""
        out: dict[str, list[bytes]] = {}
        for id in message.ids:
            for other in self._forget(id):
                if other != node:
                    out.setdefault(other, []).append(id)
            self._tombstones[id, node] = None
        while len(self._tombstones) > TOMBSTONES:
            self._tombstones.popitem(last=False)
        return [Send(other, FreeObjects(ids)) for other, ids in out.items()]

    def free(self, message: FreeObjects, nodes: Mapping[str, NodeFacts]) -> list[Instruction]:
        """An owner lets go of objects of a node; if that is dead, of what there is elsewhere."""
        node = nodes.get(message.node)
        if node is not None and not node.alive:
            return self.freed(message.node, CopiesFreed(message.ids))
        return [Send(message.node, FreeObjects(message.ids, forced=message.forced))]

    def _forget(self, id: bytes) -> list[str]:
        nodes = list(self._copies.pop(id, ()))
        home = self._homes.pop(id, None)
        self._moved.discard(id)
        for node in nodes if home is None else [*nodes, home]:
            self._unlink(node, id)
        return nodes if home is None else [*nodes, home]

    def _unlink(self, node: str, id: bytes) -> None:
        theirs = self._of_node[node]
        theirs.discard(id)
        if not theirs:
            del self._of_node[node]

    def node_lost(self, node: str) -> dict[bytes, Located]:
        """A node is gone: the objects that have a new home, and where they lie there."""
        moved = {}
        for id in list(self._of_node.get(node, ())):
            copies = self._copies.get(id, {})
            self._unlink(node, id)
            if self._homes[id] != node:
                del copies[node]
            elif copies:
                home = next(iter(copies))
                moved[id], self._homes[id] = copies.pop(home), home
                self._moved.add(id)
            else:
                del self._homes[id]
                self._moved.discard(id)
                continue
            if not copies:
                del self._copies[id]
                if id not in self._moved:
                    self._forget(id)
        return moved

    def of(self, id: bytes) -> dict[str, Located]:
        """The copies of an object, by node, oldest first."""
        return dict(self._copies.get(id, {}))

    def lacking(self, ids: Iterable[bytes], staying: Container[str]) -> list[bytes]:
        """Those of some objects that, as far as is known, none of the `staying` nodes has."""
        return [
            id for id in ids
            if self._homes.get(id) not in staying
            and not any(node in staying for node in self._copies.get(id, ()))
        ]  # fmt: skip

    def home_of(self, id: bytes) -> list[str]:
        """The home of an object that has copies, or had one that is the home now."""
        return [self._homes[id]] if id in self._homes else []

    def validate(self) -> None:
        """Check the tables against each other."""
        pairs = {(node, id) for id, copies in self._copies.items() for node in copies}
        assert not pairs & {(home, id) for id, home in self._homes.items()}
        pairs |= {(home, id) for id, home in self._homes.items()}
        assert pairs == {(node, id) for node, ids in self._of_node.items() for id in ids}
        assert all(self._copies.values()) and all(self._of_node.values())
        assert self._copies.keys() | self._moved == self._homes.keys()
        assert len(self._tombstones) <= TOMBSTONES


def of_owner(moved: Mapping[bytes, Located], owner: str) -> list[tuple[bytes, Located]]:
    """Those of these objects that a process has made the ids of."""
    return [(id, at) for id, at in moved.items() if id[:8].hex() == owner]
