"""Refs on their way to the owner of a result: held here until it holds them itself.

The owner registers with the directory what it finds in a result, and then says so (`Taken`). If
this process dies before, its own holds lapse, and nobody is left with one that he does not know of.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from ray_on_dask.ids import index_bytes
from ray_on_dask.runtime import interrupts
from ray_on_dask.runtime.object_ref import ObjectRef
from ray_on_dask.wire import messages as m
from ray_on_dask.wire.channel import Channel
from ray_on_dask.wire.reactor import Waiter

if TYPE_CHECKING:
    from ray_on_dask.runtime.executor import Executor

#: Seconds that an owner has after its line went down: it may live, and have had the result.
LINE_DOWN = 2.0
#: Seconds that an executor which is about to end has patience with owners whose lines are up.
OWNER_PATIENCE = 10.0


class Handing:
    """What an executor holds for owners (under the process's lock)."""

    def __init__(self, executor: Executor):
        self.executor = executor
        #: {result: (its owner, refs in it)}.
        self._held: dict[bytes, tuple[str, list[ObjectRef[Any]]]] = {}
        #: {owner whose line is down: until when}.
        self._down: dict[str, float] = {}
        #: Finished when nothing is held any more.
        self._free: Waiter | None = None

    def __bool__(self) -> bool:
        return bool(self._held)

    def hold(self, result: bytes, owner: str, refs: list[ObjectRef[Any]]) -> None:
        """A result with these refs goes to its owner."""
        self._held[result] = (owner, refs)

    def on_taken(self, channel: Channel, message: m.Taken) -> None:
        """The owner holds them now."""
        for result in message.results:
            self._held.pop(result, None)
        self._let_go()

    def _let_go(self) -> None:
        if self._free is not None and not self._held:
            self._free.finish()
        self.executor.nudge()

    def finish(self) -> None:
        """Send what results there are, and return when their owners hold the refs in them.

        That is for a process that is about to end (not locked).
        """
        executor = self.executor
        end = monotonic() + OWNER_PATIENCE
        with executor.lock:
            executor.flush_results()
            settled = not executor.asking.syncing
        if not settled:
            executor.asking.sync()
        for channel in executor.reactor.channels():
            channel.flush(max(0.0, end - monotonic()))
        with executor.lock:
            if not self._held:
                return
            self._free = waiter = Waiter()
        executor.reactor.wait(waiter, max(0.0, end - monotonic()))

    def gone(self, task: bytes, made: m.Result | None = None) -> m.Result:
        """The result of a cancelled task; what it may have made is not sent after all.

        From the thread that ran it: this takes the lock.
        """
        with self.executor.lock:
            for at, value in enumerate(made.values if made is not None else ()):
                if value.at is not None:
                    self.executor.to_hub(m.Unwanted(task + index_bytes(at), value.at))
            for result in [x for x in self._held if x.startswith(task)]:
                del self._held[result]
        return interrupts.gone(task)

    def owner_down(self, owner: str) -> None:
        """The line to an owner is down."""
        if any(owner == name for name, _ in self._held.values()):
            self._down[owner] = monotonic() + LINE_DOWN

    def tick(self, now: float) -> None:
        """Give up on owners whose lines are down."""
        for owner, until in list(self._down.items()):
            if now > until:
                del self._down[owner]
                for result in [x for x, (name, _) in self._held.items() if name == owner]:
                    del self._held[result]
                self._let_go()
