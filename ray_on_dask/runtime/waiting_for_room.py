"""A process that finds the store full waits for its node to make room."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING

from ray_on_dask.wire import messages as m
from ray_on_dask.wire.channel import Channel
from ray_on_dask.wire.reactor import Waiter

if TYPE_CHECKING:
    from ray_on_dask.runtime.process import Process


class WaitForRoom:
    """Asks the node, blocks for its answer."""

    def __init__(self, process: Process):
        self.process = process
        self._numbers = itertools.count(1)
        self._waiting: dict[int, tuple[Waiter, list[m.Room]]] = {}

    def wait(self, size: int, no_memory: bool) -> Callable[[], None]:
        """Block until the node has promised so many bytes; call the result when they are counted.

        Raises
        ------
        ObjectStoreFullError
            With the node's words, if it cannot make room; it decides how long it tries.
        """
        process, number, waiter = self.process, next(self._numbers), Waiter()
        box: list[m.Room] = []
        with process.lock:
            self._waiting[number] = (waiter, box)
            process.references.drain()
            process.storing.seal_all()  # what the node does not know of it cannot move
            process.to_hub(m.NeedRoom(number, size, no_memory))
        try:
            process.flush()
            process.block(waiter, [], None)
            if not box:
                raise process.why_closed()
            if box[0].error:
                from ray_on_dask.error_serialization import loads_error

                raise loads_error(box[0].error)
        except BaseException:
            self._took(number)
            raise
        return lambda: self._took(number)

    def _took(self, number: int) -> None:
        with self.process.lock:
            self._waiting.pop(number, None)
            self.process.to_hub(m.TookRoom(number))
            self.process.send_out()

    def on_room(self, channel: Channel, message: m.Room) -> None:
        """The node's answer."""
        waiting = self._waiting.get(message.request)
        if waiting is not None:
            waiting[1].append(message)
            waiting[0].finish()
