"""Results that an executor wrote and did not live to tell of.

The node of a dead executor names to each owner the last objects that it wrote for it. The place
of what the owner knows nothing of is given back. Not at once, since what the executor did tell may
still be on its way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from time import monotonic
from typing import TYPE_CHECKING

from ray_on_dask.wire import messages as m
from ray_on_dask.wire.channel import Channel

if TYPE_CHECKING:
    from ray_on_dask.runtime.process import Process

#: Seconds for what a dead executor has said to come in.
LAST_WORDS = 2.0


class Unheard:
    """Answers such questions at an owner (under the process's lock)."""

    def __init__(self, process: Process):
        self.process = process
        #: (when to answer, objects and where they lie).
        self._asked: deque[tuple[float, list[tuple[bytes, m.Located]]]] = deque()

    def __bool__(self) -> bool:
        return bool(self._asked)

    def on_unheard(self, channel: Channel, message: m.Unheard) -> None:
        """An executor that wrote these has died."""
        self._asked.append((monotonic() + LAST_WORDS, message.objects))

    def tick(self, now: float) -> None:
        """Answer what is due."""
        while self._asked and self._asked[0][0] <= now:
            self.give_back(self._asked.popleft()[1])

    def give_back(self, objects: Iterable[tuple[bytes, m.Located]]) -> None:
        """Have the places of those freed that this process knows nothing of."""
        results = self.process.recovery.results
        for id, at in objects:
            entry = results.get(id)
            if entry is None or entry.kind != m.STORED or entry.data != at:
                node = "" if at.node == self.process.node else at.node
                self.process.to_hub(m.Unwanted(id, at, node))
