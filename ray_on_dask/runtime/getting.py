"""`get` and `wait` in one process: blocking on entries, and turning them into values."""

from __future__ import annotations

import concurrent.futures
import functools
from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any, NoReturn

from ray_on_dask.runtime.object_ref import Entry, ObjectRef
from ray_on_dask.runtime.opening import Unreadable, Use
from ray_on_dask.serialization import deserialize
from ray_on_dask.wire.messages import ERROR, FREED, INLINE, PENDING, STORED, WaitingFor
from ray_on_dask.wire.reactor import Waiter

if TYPE_CHECKING:
    from ray_on_dask.runtime.process import Process


class Getting:
    """Blocks the calling thread until objects are there."""

    def __init__(self, process: Process):
        self.process = process
        #: Futures that are not done yet.
        self._futures: set[concurrent.futures.Future[Any]] = set()

    # -- get ------------------------------------------------------------------------

    def get_one(self, ref: ObjectRef[Any], timeout: float | None) -> Any:
        """The value of one ref; raises what its task raised."""
        entry = ref._entry
        end = None if timeout is None else monotonic() + timeout
        if entry.kind == PENDING:
            self._block_for_one(entry, timeout)
        return self._read(entry, end)

    def get_many(self, refs: Sequence[ObjectRef[Any]], timeout: float | None) -> list[Any]:
        """The values of refs, in order; raises as soon as any of them has failed."""
        pending = {}
        for ref in refs:
            entry = ref._entry
            if entry.kind == PENDING:
                pending[entry.id] = entry
            elif entry.kind == ERROR:
                self.value(entry)
        end = None if timeout is None else monotonic() + timeout
        if pending:
            waited = list(pending.values())
            self.block_for(waited, len(waited), timeout, first_error=True)
            for entry in waited:
                if entry.kind == ERROR:
                    self.value(entry)
        held = self._hold(refs, end)
        try:
            return [self._read(ref._entry, end) for ref in refs]
        finally:
            if held:
                self.process.storing.opening.release(held)

    def _hold(self, refs: Sequence[ObjectRef[Any]], end: float | None) -> list[Use]:
        """Have the node open, all at once, what it must be asked for."""
        opening = self.process.storing.opening
        entries = {
            ref._entry.id: ref._entry
            for ref in refs
            if ref._entry.kind == STORED and opening.must_ask_for(ref._entry)
        }
        if not entries:
            return []
        return opening.hold(entries.values(), None if end is None else max(0.0, end - monotonic()))

    def value(self, entry: Entry, end: float | None = None) -> Any:
        """The value of an entry that was ready; waits again if its object is lost meanwhile."""
        while entry.kind in (STORED, PENDING):
            left = None if end is None else max(0.0, end - monotonic())
            if entry.kind == PENDING:
                self.block_for([entry], 1, left, first_error=True)
                continue
            try:
                return self.process.storing.load(entry, left)
            except Unreadable as unreadable:
                self.process.recovery.unreadable(entry, unreadable)
        if entry.kind in (INLINE, STORED):
            return self._read(entry, end)
        if entry.kind == ERROR:
            from ray_on_dask.error_serialization import loads_error

            if self.process.references.unhandled is not None:
                self.process.references.unhandled.seen(entry)
            with self.process.lock:  # it may have become one at this moment
                data = entry.data
            raise loads_error(data)
        if entry.kind == FREED:
            from ray_on_dask.exceptions import ObjectFreedError

            raise ObjectFreedError(entry.id.hex(), "", "")
        raise AssertionError(f"entry {entry.id.hex()} is of no kind")

    def _read(self, entry: Entry, end: float | None) -> Any:
        """The value of an entry that is there."""
        data = entry.data  # before the kind is looked at: another thread may free or move it
        return deserialize(data) if entry.kind == INLINE else self.value(entry, end)

    # -- waiting -----------------------------------------------------------------------

    def block_for(
        self, entries: list[Entry], count: int, timeout: float | None, first_error: bool = False
    ) -> None:
        """Block until `count` of the entries are there; `GetTimeoutError` if `first_error`."""
        process = self.process
        waiter = Waiter(count)

        def one(entry: Entry) -> None:
            if first_error and entry.kind == ERROR:
                waiter.finish()
            else:
                waiter.one_done()

        with process.lock:
            for entry in entries:
                process.references.when_ready(entry, one)
        process.flush()
        if not waiter.done:
            process.block(waiter, entries, timeout)
        if not waiter.done or process.reactor.closed:
            self._stop_waiting(entries, one)
        if not waiter.done and first_error:
            self.timed_out()

    def _block_for_one(self, entry: Entry, timeout: float | None) -> None:
        """Block until the entry is there, in as few steps as it takes; `GetTimeoutError`."""
        process, waiter = self.process, Waiter()
        call = waiter.finished
        with process.lock:
            process.references.when_ready(entry, call)
            process.flush()
        if not waiter.done:
            process.block(waiter, [entry], timeout)
            if not waiter.done:
                self._stop_waiting([entry], call)
                self.timed_out()

    def timed_out(self) -> NoReturn:
        """Raise the error of a `get` that has ended without an answer."""
        process = self.process
        if process.reactor.closed:
            raise process.why_closed()
        from ray_on_dask.exceptions import GetTimeoutError

        raise GetTimeoutError("Get timed out: some object(s) not ready.")

    def _stop_waiting(self, entries: list[Entry], call: Any) -> None:
        with self.process.lock:
            for entry in entries:
                if entry.waiters is not None and call in entry.waiters:
                    entry.waiters.remove(call)

    def wait(
        self, refs: list[Any], count: int, timeout: float | None
    ) -> tuple[list[Any], list[Any]]:
        """Up to `count` refs that are ready and the others, both in the order given."""
        found = self._ready(refs, count)
        if len(found) < count:
            self.process.flush()
            self.process.reactor.poll_now()
            pending = [ref._entry for ref in refs if ref._entry.kind == PENDING]
            if timeout != 0:
                self.block_for(pending, count - len(refs) + len(pending), timeout)
            elif any(not entry.owned for entry in pending):
                self._subscribe(pending)
            found = self._ready(refs, count)
            if len(found) < count and timeout is None:
                raise self.process.why_closed()
        return self._split(refs, found)

    def _subscribe(self, entries: list[Entry]) -> None:
        """Ask about borrowed refs that are only polled."""
        with self.process.lock:
            for entry in entries:
                if not entry.owned and not entry.share().subscribed:
                    self.process.references.when_ready(entry, _nothing)

    @staticmethod
    def _ready(refs: list[Any], count: int) -> list[int]:
        found = []
        for at, ref in enumerate(refs):
            if ref._entry.kind != PENDING:
                found.append(at)
                if len(found) == count:
                    break
        return found

    @staticmethod
    def _split(refs: list[Any], found: list[int]) -> tuple[list[Any], list[Any]]:
        if len(found) == 1:
            at = found[0]
            return [refs[at]], refs[:at] + refs[at + 1 :]
        ready, rest, last = [], [], 0
        for at in found:
            ready.append(refs[at])
            rest += refs[last:at]
            last = at + 1
        return ready, rest + refs[last:]

    def tell_what_blocks(self, entries: list[Entry]) -> None:
        """Let the owners of borrowed refs make these first."""
        ids = [entry.id for entry in entries if not entry.owned]
        if ids:
            self.process.to_hub(WaitingFor(ids))

    # -- futures --------------------------------------------------------------------------

    def future(self, ref: ObjectRef[Any]) -> concurrent.futures.Future[Any]:
        """A future of the ref's value, completed by the callback thread."""
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        future.set_running_or_notify_cancel()

        def ready(entry: Entry, ref: ObjectRef[Any] = ref) -> None:
            self.process.storing.opening.when_open(entry, opened)

        def opened(uses: list[Use], ref: ObjectRef[Any] = ref) -> None:
            self.process.call_back(lambda: self._settle(future, ref, uses))

        with self.process.lock:
            if ref._entry.kind == PENDING and (self.process.closing or self.process.reactor.closed):
                future.set_exception(self.process.why_closed())
                return future
            self._futures.add(future)
            self.process.references.when_ready(ref._entry, ready)
        self.process.flush()
        return future

    def session_over(self) -> None:
        """No value comes any more: fail the futures that wait for one, in the callback thread."""
        with self.process.lock:
            futures, self._futures = list(self._futures), set()
            for future in futures:
                try:
                    self.process.call_back(functools.partial(self._fail, future))
                except RuntimeError:  # the interpreter ends, and starts no threads any more
                    self._fail(future)

    def _fail(self, future: concurrent.futures.Future[Any]) -> None:
        if not future.done():
            future.set_exception(self.process.why_closed())

    def _settle(
        self, future: concurrent.futures.Future[Any], ref: ObjectRef[Any], uses: list[Use]
    ) -> None:
        self._futures.discard(future)
        try:
            if not future.done():
                future.set_result(self.value(ref._entry))
        except BaseException as error:
            future.set_exception(error)
        finally:
            if uses:
                self.process.storing.opening.release(uses)


def _nothing(entry: Entry) -> None:
    """For a ref that is only polled: the directory's answer is all that is wanted."""
