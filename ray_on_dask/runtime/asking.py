"""Questions to the control store: rare enough to be asked by name and waited for."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ray_on_dask.wire.channel import Channel
from ray_on_dask.wire.messages import Answer, Ask, Sync, Synced, Taken
from ray_on_dask.wire.reactor import Waiter

if TYPE_CHECKING:
    from ray_on_dask.runtime.process import Process

#: Seconds after which an unanswered question is an error.
PATIENCE = 60.0


class Asking:
    """Sends questions, blocks for the answers."""

    def __init__(self, process: Process):
        self.process = process
        self._numbers = itertools.count(1)
        self._waiting: dict[int, tuple[Waiter, list[Answer]]] = {}
        #: {number of a question whether the control store is so far: what to do when it is}.
        self._syncs: dict[int, list[Callable[[], object]]] = {}

    def ask(self, what: str, timeout: float = PATIENCE, **args: Any) -> Any:
        """The control store's answer.

        Raises
        ------
        ValueError
            If the control store refuses, with its reason.
        GetTimeoutError
            If there is no answer within `timeout` seconds.
        """
        number, waiter = next(self._numbers), Waiter()
        box: list[Answer] = []
        with self.process.lock:
            self._waiting[number] = (waiter, box)
            self.process.to_hub(Ask(number, what, args))
            self.process.send_out()
        self.process.reactor.wait(waiter, timeout)
        with self.process.lock:
            self._waiting.pop(number, None)
        if not box:
            raise self._no_answer(what, timeout)
        if box[0].error:
            raise ValueError(box[0].error)
        return box[0].value

    def _no_answer(self, what: str, timeout: float) -> Exception:
        if self.process.reactor.closed:
            return self.process.why_closed()
        from ray_on_dask.exceptions import GetTimeoutError

        return GetTimeoutError(f"The control store did not answer {what!r} within {timeout} s.")

    def on_answer(self, channel: Channel, message: Answer) -> None:
        """An answer has come."""
        waiting = self._waiting.pop(message.request, None)
        if waiting is not None:
            waiting[1].append(message)
            waiting[0].finish()

    def sync(self) -> None:
        """Block until the control store has done all that this process has sent so far."""
        number, waiter = next(self._numbers), Waiter()
        with self.process.lock:
            self._syncs[number] = [waiter.finish]
            self.process.to_hub(Sync(number))
            self.process.send_out()
        self.process.reactor.wait(waiter)

    @property
    def syncing(self) -> bool:
        """Whether something waits until the control store is so far."""
        return bool(self._syncs)

    def on_synced(self, channel: Channel, message: Synced) -> None:
        """It has."""
        for call in self._syncs.pop(message.token, ()):
            call()

    def held(self, call: Callable[[], object]) -> bool:
        """Whether the directory knows of all refs that are held here (under the lock).

        It does unless some were taken just now: then `call()` is called when it does. All else
        that is to be sent to it is sent.
        """
        references = self.process.references
        if references.fresh:
            references.fresh = False
            number = next(self._numbers)
            self._syncs[number] = [call]
            self.process.to_hub(Sync(number))
            self.process.send_out()
            return False
        if self.process._hub_out:
            self.process.send_out()
        if not self._syncs:
            return True
        self._syncs[next(reversed(self._syncs))].append(call)  # they are answered in order
        return False

    def acknowledge(self, channel: Channel) -> None:
        """Say who has sent results that the refs in them are held here (under the lock)."""
        references = self.process.references
        taken, references.taken = references.taken, []
        fresh, references.fresh = references.fresh, False
        if not fresh:
            channel.send(Taken(taken))
            return
        number = next(self._numbers)
        self._syncs[number] = [lambda: channel.send(Taken(taken))]
        self.process.to_hub(Sync(number))
