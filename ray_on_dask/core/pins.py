"""Which processes read which objects of a node's store, as far as the node has been told."""

from __future__ import annotations

from collections.abc import Iterable


class Pins:
    """Who has what open. A process counts once an object, however often it has asked."""

    def __init__(self) -> None:
        #: {object: processes that read it}.
        self._readers: dict[bytes, set[str]] = {}
        #: {process: objects that it reads}.
        self._read: dict[str, set[bytes]] = {}

    def __contains__(self, id: bytes) -> bool:
        """Whether anybody reads it."""
        return id in self._readers

    def __len__(self) -> int:
        return len(self._readers)

    def readers(self, id: bytes) -> set[str]:
        """Who reads it."""
        return set(self._readers.get(id, ()))

    def opened(self, process: str, id: bytes) -> None:
        """The process reads it from now on."""
        self._readers.setdefault(id, set()).add(process)
        self._read.setdefault(process, set()).add(id)

    def closed(self, process: str, ids: Iterable[bytes]) -> list[bytes]:
        """It reads these no more; those that nobody reads now."""
        read, unread = self._read.get(process), []
        if read is None:
            return []
        for id in ids:
            if id in read:
                read.discard(id)
                readers = self._readers[id]
                readers.discard(process)
                if not readers:
                    del self._readers[id]
                    unread.append(id)
        if not read:
            del self._read[process]
        return unread

    def gone(self, process: str) -> list[bytes]:
        """The process is dead; what nobody reads now."""
        return self.closed(process, list(self._read.get(process, ())))

    def validate(self) -> None:
        """Assert that both tables say the same."""
        pairs = {(process, id) for process, ids in self._read.items() for id in ids}
        assert pairs == {(process, id) for id, them in self._readers.items() for process in them}
        assert all(self._readers.values()) and all(self._read.values())
