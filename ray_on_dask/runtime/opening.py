"""Which stored objects this process reads, and the node's leave to read them where it is needed.

An object of the own node is mapped as it is told of, without a word to anybody: its place is good
as long as this process holds the object. That ends when the node's store comes *under pressure*
and objects may move to disk: a flag in the node's usage page, which is looked at before an object
is mapped. From then on, and for objects of other nodes always, the node is asked (`Open`) where
the object can be mapped now, and keeps it there until this process says `Closed`.

The switch is free of races since an object is mapped under the process's lock, and its view noted
there, right after the look at the flag. The node sets the flag, then asks all its processes what
they read (`Pressure`); each answers under its lock (`Viewed`). What was mapped before the answer is
in it; what is mapped after it has seen the flag. The node moves nothing before all have answered.

A view that was opened by the node's leave is not kept open between two reads, as those without
are: what somebody may read once more is no reason to keep it in memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ray_on_dask.runtime.object_ref import Entry, dropped
from ray_on_dask.serialization import deserialize_view
from ray_on_dask.wire import messages as m
from ray_on_dask.wire.channel import Channel
from ray_on_dask.wire.reactor import Waiter

if TYPE_CHECKING:
    from ray_on_dask.runtime.process import Process

#: Closed views of one object that are looked through for dead ones from so many on.
_PRUNE = 8
#: Ids of freed objects that are remembered.
FORGOTTEN = 10_000


class Unreadable(Exception):
    """An object cannot be read where this process believed it to be.

    Parameters
    ----------
    at : Located, optional
        Where that was.
    why : str
    error : bytes
        The node's word for it, if it may be there and was only not to be had: a pickled exception.
    """

    def __init__(self, at: m.Located | None, why: str, error: bytes = b""):
        super().__init__(why)
        self.at = at
        self.error = error


class Use:
    """An object that this process has asked for, or that the node keeps in place for it."""

    __slots__ = ("entry", "told", "users", "value", "waiters")

    def __init__(self, entry: Entry):
        self.entry = entry
        #: The node's answer; None until it is there.
        self.value: m.Value | None = None
        #: Reads that go on, or are about to begin.
        self.users = 0
        #: Whether the node knows, so that it must be told of the end.
        self.told = False
        #: Called, under the process's lock, when the answer is there.
        self.waiters: list[Callable[[], None]] = []


class Opening:
    """Opens stored objects; the process's lock is held by callers where it is said."""

    def __init__(self, process: Process):
        self.process = process
        #: {id: entry with views that were opened without a word}.
        self.viewed: dict[bytes, Entry] = {}
        #: {id: what the node was asked for, or was told of}.
        self.uses: dict[bytes, Use] = {}
        self._closed: list[bytes] = []
        #: Freed although there were refs: word of where they lay may still come.
        self._forgotten: dict[bytes, None] = {}
        #: Views that a thread was reading when they were to be closed.
        self.to_close: list[Entry] = []

    # -- which ----------------------------------------------------------------------------

    def must_ask(self, at: m.Located) -> bool:
        """Whether an object that was there when this process heard of it needs the node's leave."""
        return at.node != self.process.node or self.process.storing.store.pressed

    def must_ask_for(self, entry: Entry) -> bool:
        """Likewise for a stored object that may be freed or lost at this moment."""
        at = entry.data
        return isinstance(at, m.Located) and self.must_ask(at)

    def view(self, entry: Entry) -> Any:
        """A view of an object that needs nobody's leave, None for others (under the lock)."""
        if self.must_ask(entry.data):
            return None
        if self._forgotten and entry.id in self._forgotten:
            raise Unreadable(entry.data, "it was freed")
        shared = entry.share()
        shared.view = self._map(entry, entry.data)
        self.viewed[entry.id] = entry
        return shared.view

    def _map(self, entry: Entry, at: m.Located) -> Any:
        try:
            return self.process.storing.store.open(at, lambda: dropped.append(entry))
        except (FileNotFoundError, ValueError) as error:
            raise Unreadable(at, f"its bytes are no longer where they were ({error})") from None

    # -- reads ----------------------------------------------------------------------------

    def hold(self, entries: Iterable[Entry], timeout: float | None) -> list[Use]:
        """Have the node open these, all at once, and block until it has; `release` them.

        Raises
        ------
        GetTimeoutError
            If there is no answer within `timeout` seconds.
        """
        process = self.process
        with process.lock:
            uses = self._ask(entries)
            pending = [use for use in uses if use.value is None]
            waiter = Waiter(len(pending))
            for use in pending:
                use.waiters.append(waiter.one_done)
        if pending:
            try:
                process.flush()
                if not waiter.done:
                    process.block(waiter, [], timeout)
                if not waiter.done:
                    process.getting.timed_out()
            except BaseException:
                self.release(uses)
                raise
        return uses

    async def held(self, entries: Iterable[Entry]) -> list[Use]:
        """Likewise, while the event loop of the calling coroutine goes on."""
        loop = asyncio.get_running_loop()
        answered = asyncio.Event()

        def answer() -> None:
            if all(use.value is not None for use in uses):
                loop.call_soon_threadsafe(answered.set)

        with self.process.lock:
            uses = self._ask(entries)
            pending = [use for use in uses if use.value is None]
            for use in pending:
                use.waiters.append(answer)
        if pending:
            self.process.flush()
            try:
                await answered.wait()
            except asyncio.CancelledError:
                self.release(uses)
                raise
        return uses

    def when_open(self, entry: Entry, call: Callable[[list[Use]], None]) -> None:
        """Call `call(uses)` when the object can be read, at once if it can now (under the lock).

        Who is called must `release` them.
        """
        if entry.kind != m.STORED or not self.must_ask(entry.data):
            call([])
            return
        uses = self._ask([entry])
        if uses[0].value is not None:
            call(uses)
        else:
            uses[0].waiters.append(lambda: call(uses))

    def _ask(self, entries: Iterable[Entry]) -> list[Use]:
        uses, objects = [], []
        for entry in entries:
            use = self.uses.get(entry.id)
            if use is None:
                use = self.uses[entry.id] = Use(entry)
                if entry.kind != m.STORED:  # lost a moment ago
                    use.value = m.Value(m.FREED)
                elif self.process.storing.is_unsealed(entry):
                    use.value = m.Value(m.STORED, b"", entry.data)  # nobody else knows it yet
                else:
                    use.told = True
                    objects.append((entry.id, entry.data))
            use.users += 1
            uses.append(use)
        if objects:
            self.process.to_hub(m.Open(objects))
        return uses

    def load(self, entry: Entry, timeout: float | None) -> Any:
        """The value of an object that needs the node's leave; blocks until there is an answer."""
        at = entry.data
        uses = self.hold([entry], timeout)
        try:
            return self._read(entry, uses[0].value, at)
        finally:
            self.release(uses)

    def _read(self, entry: Entry, value: m.Value | None, at: Any) -> Any:
        assert value is not None
        if value.kind != m.STORED or value.at is None:
            raise Unreadable(at, "its node has it no more", value.data)
        with self.process.lock:
            view = self._map(entry, value.at)
            views = entry.share().closed_views
            if len(views) >= _PRUNE:
                views[:] = [old for old in views if old.alive]
            views.append(view)
        try:
            return deserialize_view(view)
        finally:
            view.close()

    def release(self, uses: Sequence[Use]) -> None:
        """These reads have ended (takes the lock)."""
        with self.process.lock:
            for use in uses:
                use.users -= 1
                self._settle(use)

    # -- ends -----------------------------------------------------------------------------

    def in_use(self, entry: Entry) -> bool:
        """Whether a read of it goes on or is about to begin (under the lock)."""
        use = self.uses.get(entry.id)
        return use is not None and use.users > 0

    def view_died(self, entry: Entry) -> None:
        """A view of an object that has refs may be gone (under the lock)."""
        shared = entry.shared
        if shared is not None and shared.closed_views:
            shared.closed_views = [view for view in shared.closed_views if view.alive]
        if not _has_views(entry):
            self.unviewed(entry)

    def unviewed(self, entry: Entry) -> None:
        """Nothing that was made of the object's bytes lives (under the lock)."""
        self.viewed.pop(entry.id, None)
        use = self.uses.get(entry.id)
        if use is not None:
            self._settle(use)

    def _settle(self, use: Use) -> None:
        entry = use.entry
        if use.users or use.value is None or self.uses.get(entry.id) is not use:
            return
        if _has_views(entry):
            return
        del self.uses[entry.id]
        if use.told:
            self._closed.append(entry.id)
        dropped.append(entry)  # so that `send_closed` is called, and the entry is let go if it may

    def forget(self, entry: Entry) -> None:
        """The object is lost: what was read of it stays, who reads it next asks anew (locked)."""
        self.viewed.pop(entry.id, None)
        use = self.uses.pop(entry.id, None)
        if use is None:
            return
        if use.told:
            self._closed.append(entry.id)
        waiters, use.waiters = use.waiters, []
        use.value = m.Value(m.FREED)
        for call in waiters:
            call()

    def send_closed(self) -> None:
        """Tell the node what is read no more (under the lock)."""
        if self._closed:
            closed, self._closed = self._closed, []
            self.process.to_hub(m.Closed(closed))

    # -- messages -----------------------------------------------------------------------------

    def on_opened(self, channel: Channel, message: m.Opened) -> None:
        """The node's answer."""
        use = self.uses.get(message.id)
        if use is None or use.value is not None:
            return
        use.value = message.value
        if message.value.kind != m.STORED and not _has_views(use.entry):
            del self.uses[message.id]  # nothing is kept for us: who tries again asks again
        waiters, use.waiters = use.waiters, []
        for call in waiters:
            call()
        self._settle(use)

    def on_pressure(self, channel: Channel, message: m.Pressure) -> None:
        """The node asks what is read here."""
        self._close_idle()
        read = [entry for entry in self.viewed.values() if _has_views(entry)]
        for entry in read:
            use = self.uses.setdefault(entry.id, Use(entry))
            use.value = use.value or m.Value(m.STORED, b"", entry.data)
            use.told = True
        self.process.to_hub(m.Viewed(message.epoch, [entry.id for entry in read]))
        self.process.storing.seal_all()

    def on_forget(self, channel: Channel, message: m.Forget) -> None:
        """Objects are freed whoever has refs: open them no more, and say which are read here."""
        read = []
        for id in message.ids:
            self._forgotten[id] = None
            entry = self.process.references.known.get(id) or self.viewed.get(id)
            if entry is None:
                continue
            if entry.kind == m.STORED:
                entry.kind, entry.data = m.FREED, b""
            if self.close_if_idle(entry):
                continue
            read.append(id)
            use = self.uses.get(id)
            if use is None:
                use = self.uses[id] = Use(entry)
                use.value = m.Value(m.FREED)
            use.told = True
        self.process.to_hub(m.Forgotten(message.round, read))
        while len(self._forgotten) > FORGOTTEN:
            del self._forgotten[next(iter(self._forgotten))]

    def close_if_idle(self, entry: Entry) -> bool:
        """Have no open view of a freed object; whether nothing of it is read (under the lock)."""
        self.process.storing.close_when_idle(entry)
        if _has_views(entry) or self.in_use(entry):
            return False
        self.viewed.pop(entry.id, None)
        return True

    def sealing(self, entry: Entry) -> None:
        """The node is about to be told of an own object: say first if it is read."""
        use = self.uses.get(entry.id)
        if use is not None and not use.told:
            use.told = True
            self.process.to_hub(m.Viewed(0, [entry.id]))

    def tick(self) -> None:
        """Close views that were being read when they were to be closed."""
        if self.viewed and self.process.storing.store.pressed:
            self._close_idle()
        if self.to_close:
            again, self.to_close = self.to_close, []
            for entry in again:
                if self.close_if_idle(entry):
                    self.unviewed(entry)

    def _close_idle(self) -> None:
        for entry in list(self.viewed.values()):
            shared = entry.shared
            if shared is not None and shared.view is not None:
                if self.process.storing.close_idle_view(entry):
                    self.view_died(entry)
            elif not _has_views(entry):
                self.unviewed(entry)


def _has_views(entry: Entry) -> bool:
    shared = entry.shared
    return shared is not None and (
        shared.view is not None or any(view.alive for view in shared.closed_views)
    )
