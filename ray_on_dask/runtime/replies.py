"""Results of an actor whose calls overlap, on their way to the callers.

Such an actor registers the refs that it finds among its arguments at once, not at the end of the
call. Its callers hold those refs until they have the result, so it goes no sooner than the
directory has been told.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from ray_on_dask.wire import messages as m
from ray_on_dask.wire.channel import Channel

if TYPE_CHECKING:
    from ray_on_dask.runtime.executor import Executor


Batches = dict[Channel, list[m.Result]]


def deliver(batches: Batches) -> None:
    """Send results, one message to each caller."""
    for channel, results in batches.items():
        channel.send(m.Results(0, results))


class Replies:
    """Sends results, those that are collected meanwhile together."""

    def __init__(self, executor: Executor):
        self.executor = executor
        self._batches: Batches = {}

    def collect(self, channel: Channel, result: m.Result) -> bool:
        """Keep a result for `send_all` (in one thread, or locked); whether it is the first."""
        first = not self._batches
        self._batches.setdefault(channel, []).append(result)
        return first

    def take(self) -> Batches:
        """What was collected and may be sent now, by `deliver` (under the lock)."""
        batches, self._batches = self._batches, {}
        if batches and self.executor.asking.held(functools.partial(deliver, batches)):
            return batches
        return {}

    def send_all(self) -> None:
        """Send what was collected (takes the lock, but not while it sends)."""
        with self.executor.lock:
            batches = self.take()
        deliver(batches)

    def caller_gone(self, channel: Channel) -> None:
        """A caller is gone: nobody waits for what it has asked."""
        self._batches.pop(channel, None)
