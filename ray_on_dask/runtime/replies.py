"""Results of an actor whose calls overlap, on their way to the callers.

Such an actor registers the refs that it finds among its arguments at once, not at the end of the
call. Its callers hold those refs until they have the result, so it goes no sooner than the
directory has been told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ray_on_dask.wire import messages as m
from ray_on_dask.wire.channel import Channel

if TYPE_CHECKING:
    from ray_on_dask.runtime.executor import Executor


class Replies:
    """Sends results, those that are collected meanwhile together."""

    def __init__(self, executor: Executor):
        self.executor = executor
        self._batches: dict[Channel, list[m.Result]] = {}

    def __bool__(self) -> bool:
        return bool(self._batches)

    def collect(self, channel: Channel, result: m.Result) -> bool:
        """Keep a result for `send_all` (in one thread, or locked); whether it is the first."""
        first = not self._batches
        self._batches.setdefault(channel, []).append(result)
        return first

    def send_all(self) -> None:
        """Send what was collected (takes the lock, but not while it sends)."""

        def send() -> None:
            for channel, results in batches.items():
                channel.send(m.Results(0, results))

        with self.executor.lock:
            batches, self._batches = self._batches, {}
            now = bool(batches) and self.executor.asking.held(send)
        if now:
            send()

    def caller_gone(self, channel: Channel) -> None:
        """A caller is gone: nobody waits for what it has asked."""
        self._batches.pop(channel, None)
