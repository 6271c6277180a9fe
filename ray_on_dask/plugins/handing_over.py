"""What becomes of the objects of nodes that are retired: others have them all before they go.

Dask moves the keys of a worker that retires, so a node is first asked to make keys of all objects
that it has, however young. Then Dask moves them, and those who get them take them into their
stores (`plugins.copying`). Only when the control store has heard of that are the workers let go.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ray_on_dask.core.control import HANDED_OVER, LAST_MOMENT, ControlStore
from ray_on_dask.core.instructions import Send
from ray_on_dask.wire import messages as m

logger = logging.getLogger("ray_on_dask")

#: Seconds for a node to make its objects known, and without any object's arrival somewhere.
ANSWER, PATIENCE = 10.0, 10.0
#: Seconds between two looks at what has arrived, at least and at most.
LOOK, LOOK_MAX = 0.02, 0.5


class HandingOver:
    """Sees to it that nodes go when their objects have gone.

    Parameters
    ----------
    store : ControlStore
    dispatch : callable
        Carries the store's instructions out.
    is_key : callable
        Whether a key is still one of Dask's: if not, its object is garbage.
    """

    def __init__(
        self,
        store: ControlStore,
        dispatch: Callable[[list[Any]], None],
        is_key: Callable[[str], bool],
    ):
        self.store = store
        self._dispatch = dispatch
        self._is_key = is_key
        #: {node that has been asked: set when Dask knows all its objects}.
        self._asked: dict[str, asyncio.Event] = {}
        store.extra["all_known"] = self._all_known

    async def make_known(self, nodes: Collection[str]) -> None:
        """Have Dask know every object of these nodes, those that are still to come at once."""
        waiting = []
        for node in nodes:
            self.store.retiring[node] = HANDED_OVER
            known = self._asked.setdefault(node, asyncio.Event())
            waiting.append(asyncio.ensure_future(known.wait()))
            self._dispatch([Send(node, m.HandOver(True))])
        try:
            if waiting:
                await asyncio.wait(waiting, timeout=ANSWER)
        finally:
            for task in waiting:
                task.cancel()
            for node in nodes:
                self._asked.pop(node, None)

    def _all_known(self, sender: str) -> None:
        if sender in self._asked:
            self._asked[sender].set()

    def stays(self, node: str) -> None:
        """It does not go after all."""
        if node in self.store.retiring:
            del self.store.retiring[node]
            self._dispatch([Send(node, m.HandOver(False))])

    async def arrived(self, moving: Mapping[str, list[str]]) -> None:
        """Return when these keys, by node, are objects of nodes that stay, or nothing comes."""
        lacking = {id: key for keys in moving.values() for key in keys if (id := id_of_key(key))}
        loop = asyncio.get_running_loop()
        since, count = loop.time(), len(lacking)
        while lacking := self._still_lacking(lacking):
            if len(lacking) < count:
                since, count = loop.time(), len(lacking)
            elif loop.time() - since > PATIENCE:
                logger.warning(
                    "%d objects of nodes that are retired were not taken in by others: is there "
                    "room? What cannot be made again of them is lost.", len(lacking),
                )  # fmt: skip
                return
            await asyncio.sleep(max(LOOK, min(LOOK_MAX, len(lacking) / 4000)))
        for node in self.store.retiring.keys() & moving.keys():
            self.store.retiring[node] = LAST_MOMENT

    def _still_lacking(self, keys: dict[bytes, str]) -> dict[bytes, str]:
        staying = {
            node.name
            for node in self.store.nodes.values()
            if node.alive and node.name not in self.store.retiring
        }
        return {
            id: keys[id]
            for id in self.store.copies.lacking(keys, staying)
            if self._is_key(keys[id])
        }


def id_of_key(key: str) -> bytes:
    """The id of the object that is a Dask key, b"" if it is another's."""
    try:
        return bytes.fromhex(key.rpartition("-")[2])
    except ValueError:
        return b""
