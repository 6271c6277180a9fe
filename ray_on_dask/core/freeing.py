"""What is given back of a node's store, and when: not before the last who reads it is done.

An object that nobody can reach any more is read by nobody either: a process lets go only when its
views are gone. It may be freed by word of mouth though (`internal.free`) while refs and views live.
Then all processes of the node are asked to forget it and what they still read of it, which is
pinned; when all have answered, and nobody has it pinned, it is given back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from ray_on_dask.core.pins import Pins


@dataclass(slots=True)
class Freeing:
    """The state machine."""

    pins: Pins
    #: Freed, and still read by somebody.
    doomed: set[bytes] = field(default_factory=set)
    #: {round of questions: (objects, processes that have not answered)}.
    rounds: dict[int, tuple[list[bytes], set[str]]] = field(default_factory=dict)
    _last: int = 0

    def ask(self, ids: list[bytes], processes: Collection[str]) -> int:
        """These are freed whoever has refs: the number of the question to these processes."""
        self._last += 1
        self.rounds[self._last] = (ids, set(processes))
        return self._last

    def answered(self, process: str, round: int) -> list[bytes]:
        """It has forgotten them, and what it reads is pinned: what all have forgotten now."""
        if round not in self.rounds:
            return []
        ids, left = self.rounds[round]
        left.discard(process)
        if left:
            return []
        del self.rounds[round]
        return ids

    def gone(self, process: str) -> list[bytes]:
        """It will not answer."""
        return [id for round in list(self.rounds) for id in self.answered(process, round)]

    def free(self, ids: Iterable[bytes]) -> list[bytes]:
        """Nobody can reach these any more: which of them can be given back now."""
        free = []
        for id in ids:
            if id in self.pins:
                self.doomed.add(id)
            else:
                self.doomed.discard(id)
                free.append(id)
        return free

    def unpinned(self, ids: Iterable[bytes]) -> list[bytes]:
        """Nobody reads these any more: which of them are to be given back."""
        return self.free([id for id in ids if id in self.doomed]) if self.doomed else []

    def validate(self) -> None:
        """Assert what must hold between any two events."""
        assert all(id in self.pins for id in self.doomed)
        assert all(left for _, left in self.rounds.values())
