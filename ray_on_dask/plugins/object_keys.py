"""Stored objects of one node as Dask keys: announced late, released in order, in batches.

An object becomes a key when it has lived for a moment, so objects that come and go cost nothing
here. All that the scheduler learns of a node's keys it learns in one order, on one line: a release
can never overtake the registration that it is for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from time import monotonic
from typing import Any

from ray_on_dask.core.stored_objects import Stored

logger = logging.getLogger("ray_on_dask")

#: Seconds that an object must have lived to become a key.
AGE = 0.2
#: Keys in one message, and seconds between two: the loop has other things to do.
BATCH = 100
PAUSE = 0.02
#: The same for a node that is about to leave.
LAST_BATCH = 1_000

#: ``announce({key: stored object}, [keys that are no more])``
Announce = Callable[[dict[str, Stored], list[str]], None]


class ObjectKeys:
    """Which objects of a node Dask knows, and which it has to be told of.

    Parameters
    ----------
    announce : callable
        Tells Dask; called on the loop that all methods are called on.
    """

    def __init__(self, announce: Announce, now: Callable[[], float] = monotonic):
        self._announce = announce
        self._now = now
        self._new: dict[bytes, tuple[Stored, float]] = {}
        self._known: dict[bytes, str] = {}
        self._gone: list[str] = []
        self._timer: asyncio.TimerHandle | None = None
        self._age, self._batch = AGE, BATCH
        #: Called when Dask knows all there is.
        self._then: Callable[[], None] | None = None

    def changed(self, new: list[Stored], gone: list[bytes]) -> None:
        """Objects have come, or nobody can reach them any more."""
        for stored in new:
            self._new[stored.id] = (stored, self._now())
        for id in gone:
            self._new.pop(id, None)
            if key := self._known.pop(id, None):
                self._gone.append(key)
        if self._timer is None and (self._new or self._gone):
            self._timer = asyncio.get_running_loop().call_later(self._age, self._flush)

    def hurry(self, on: bool, then: Callable[[], None] | None = None) -> None:
        """Announce everything at once from now on, or again in its time.

        As when the node is about to leave; `then` is called when all there is now is announced.
        """
        self._age, self._batch = (0.0, LAST_BATCH) if on else (AGE, BATCH)
        self._then = then
        self.close()
        self._timer = asyncio.get_running_loop().call_later(self._age, self._flush)

    def flush(self, now: float) -> bool:
        """Announce one batch of what is due; whether more is to come."""
        due: dict[str, Stored] = {}
        for id, (stored, since) in self._new.items():
            if now - since < self._age or len(due) >= self._batch:
                break
            due[stored.key] = stored
            self._known[id] = stored.key
        for stored in due.values():
            del self._new[stored.id]
        gone, self._gone = self._gone[: self._batch], self._gone[self._batch :]
        if due or gone:
            self._announce(due, gone)
        return bool(self._new or self._gone)

    def _flush(self) -> None:
        try:
            more = self.flush(self._now())
        except Exception:  # what is left is to be announced nevertheless
            logger.exception("Dask could not be told of objects")
            more = bool(self._new or self._gone)
        self._timer = asyncio.get_running_loop().call_later(PAUSE, self._flush) if more else None
        if not more and self._then is not None:
            then, self._then = self._then, None
            then()

    def close(self) -> None:
        """Announce nothing more."""
        if self._timer is not None:
            self._timer.cancel()

    def stats(self) -> dict[str, Any]:
        """How many objects are keys, and how many may become keys."""
        return {"keys": len(self._known), "waiting": len(self._new)}
