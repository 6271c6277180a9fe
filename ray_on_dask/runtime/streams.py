"""Generators at their caller: refs that come while the task still runs."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from ray_on_dask.ids import index_bytes
from ray_on_dask.runtime.current import require
from ray_on_dask.runtime.object_ref import Entry, ObjectRef, ref_to
from ray_on_dask.runtime.within import within
from ray_on_dask.serialization import serialize, to_bytes
from ray_on_dask.wire import messages as m
from ray_on_dask.wire.channel import Channel

if TYPE_CHECKING:
    from ray_on_dask.runtime.process import Process

#: Index of the ref that stands for the whole task.
COMPLETED = 0x7FFF_FFFE
#: Seconds between two looks of a coroutine whether the session is still there.
LOOK_EVERY = 1.0
NONE = m.Value(m.INLINE, to_bytes(serialize(None)))
END = m.Value(m.FREED)


class Stream:
    """What the caller knows of one running generator."""

    def __init__(self, owned: Any):
        self.owned = owned
        self.task: bytes = owned.task.id
        self.backpressure: int = owned.task.backpressure
        #: The first entry that has not been taken, and those after it that have come.
        self.entries: dict[int, Entry] = {}
        self.taken = 0
        #: Number of values in all, once known.
        self.total = -1
        self.completed = Entry(self.task + index_bytes(COMPLETED), data=owned)
        self.completed_ref = ref_to(self.completed)
        self.line: Channel | None = None

    def entry(self, at: int) -> Entry:
        """The entry of the `at`-th value, there or not."""
        entry = self.entries.get(at)
        if entry is None:
            # The reader may be about to make it while a value comes: both must have the same one.
            new = Entry(self.task + index_bytes(at), data=self.owned)
            entry = self.entries.setdefault(at, new)
        return entry


class ObjectRefGenerator:
    """Refs to the values of a generator task, in order, as they are made.

    Iterate over it (or ``async for``), pass it to `wait` (ready when the next value is) or to
    `cancel`. It belongs to the process that made the call and cannot be pickled.
    """

    def __init__(self, streams: Streams, stream: Stream):
        self._streams = streams
        self._stream = stream

    @property
    def _entry(self) -> Entry:
        return self._stream.entry(self._stream.taken)

    def __iter__(self) -> Iterator[ObjectRef[Any]]:
        return self

    def __next__(self) -> ObjectRef[Any]:
        entry = self._entry
        if entry.kind == m.PENDING:
            require().getting.block_for([entry], 1, None)
        return self._take(entry, StopIteration)

    def _take(self, entry: Entry, stop: type[Exception]) -> ObjectRef[Any]:
        if entry.kind == m.PENDING:
            raise require().why_closed()
        if entry.kind == m.FREED:
            raise stop
        return self._streams.take(self._stream)

    def __aiter__(self) -> AsyncIterator[ObjectRef[Any]]:
        return self

    async def __anext__(self) -> ObjectRef[Any]:
        import asyncio

        entry = self._entry
        if entry.kind == m.PENDING:
            loop = asyncio.get_running_loop()
            done = asyncio.Event()
            process = self._streams.process
            with process.lock:
                process.references.when_ready(entry, lambda _: _call_soon(loop, done.set))
            process.flush()
            while not (done.is_set() or process.reactor.closed):
                with contextlib.suppress(asyncio.TimeoutError):
                    await within(LOOK_EVERY, done.wait())
        return self._take(entry, StopAsyncIteration)

    def completed(self) -> ObjectRef[Any]:
        """A ref that is ready when the task has ended; its value is None."""
        return self._stream.completed_ref

    def next_ready(self) -> bool:
        """Whether the next value is there."""
        return self._entry.kind not in (m.PENDING, m.FREED)

    def is_finished(self) -> bool:
        """Whether all values have been taken."""
        return self._stream.total == self._stream.taken

    def task_id(self) -> Any:
        """The id of the task."""
        from ray_on_dask.ids import TaskID

        return TaskID.of(self._stream.task)

    def __getattr__(self, name: str) -> Any:
        if name in ("send", "throw", "close", "asend", "athrow", "aclose"):
            return functools.partial(_cannot, name)
        raise AttributeError(f"'ObjectRefGenerator' object has no attribute {name!r}")

    def __repr__(self) -> str:
        return f"ObjectRefGenerator({self._stream.task.hex()})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("An ObjectRefGenerator belongs to the process that called; pass its refs.")


def _call_soon(loop: Any, call: Callable[[], object]) -> None:
    """Have an event loop call something, unless it was closed: then nobody waits for it."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(call)


def _cannot(name: str, *args: Any) -> NoReturn:
    """A generator elsewhere can be read and cancelled, nothing else."""
    raise NotImplementedError(f"{name}() of a generator that runs in another process")


class DynamicObjectRefGenerator:
    """The refs of a task with ``num_returns="dynamic"``: iterable, shorter by each one taken."""

    def __init__(self, refs: list[ObjectRef[Any]]):
        self._refs = list(refs)

    def __iter__(self) -> Iterator[ObjectRef[Any]]:
        while self._refs:
            yield self._refs.pop(0)

    def __len__(self) -> int:
        return len(self._refs)


class Streams:
    """All running generators of one caller."""

    def __init__(self, process: Process):
        self.process = process
        self.open_streams: dict[bytes, Stream] = {}

    def open(self, owned: Any) -> ObjectRefGenerator:
        """A generator for a task that is about to be submitted."""
        stream = Stream(owned)
        owned.stream = stream
        self.open_streams[stream.task] = stream
        return ObjectRefGenerator(self, stream)

    def take(self, stream: Stream) -> ObjectRef[Any]:
        """The next ref, which is there."""
        with self.process.lock:
            entry = stream.entries.pop(stream.taken)
            stream.taken += 1
            if stream.backpressure and stream.line is not None:
                stream.line.send(m.Consumed(stream.task, stream.taken))
            return ref_to(entry)

    def on_yielded(self, channel: Channel, message: m.Yielded) -> None:
        """A value has come."""
        stream = self.open_streams.get(message.task)
        references = self.process.references
        if stream is None or message.index < stream.taken:
            if message.value.inner:
                references.taken.append(message.task + index_bytes(message.index))
            if stream is not None and stream.backpressure:  # it runs again, and would wait for us
                stream.line = channel
                channel.send(m.Consumed(stream.task, stream.taken))
        else:
            stream.line = channel
            references.complete(stream.entry(message.index), message.value)
        if references.taken:
            self.process.asking.acknowledge(channel)

    def ended(self, owned: Any, result: m.Result) -> None:
        """The task is over; it has made as many values as it says."""
        from ray_on_dask.serialization import deserialize

        total = deserialize(result.values[0].data)
        self._end(owned.stream, total)
        self.process.recovery.stream_over(owned, total)

    def failed(self, owned: Any, error: m.Value) -> None:
        """The task has failed: the next ref is the error, then comes the end."""
        stream = owned.stream
        at = stream.taken
        while stream.entry(at).kind != m.PENDING:
            at += 1
        self.process.references.complete(stream.entry(at), error)
        self._end(stream, at + 1)

    def _end(self, stream: Stream, total: int) -> None:
        stream.total = total
        self.open_streams.pop(stream.task, None)
        complete = self.process.references.complete
        complete(stream.entry(total), END)
        complete(stream.completed, NONE)
