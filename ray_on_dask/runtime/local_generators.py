"""Generators in local mode: they run as far as they are read, and no further."""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from typing import TYPE_CHECKING, Any

from ray_on_dask.ids import index_bytes
from ray_on_dask.runtime.local_calls import LocalCall, PackedArguments, inside
from ray_on_dask.runtime.local_refs import Packed
from ray_on_dask.runtime.object_ref import Entry, ObjectRef, ref_to
from ray_on_dask.runtime.streams import COMPLETED, ObjectRefGenerator

if TYPE_CHECKING:
    from ray_on_dask.runtime.local_mode import LocalSession


class LocalGenerator(ObjectRefGenerator):
    """Refs to the values of a generator; each value is made when its ref is asked for."""

    def __init__(self, session: LocalSession, call: LocalCall, packed: PackedArguments):
        self._session = session
        self._call = call
        self._packed: PackedArguments | None = packed
        self._generator: Any = None
        self._made: deque[ObjectRef[Any]] = deque()
        self._count = 0
        self._ended = False
        self._completed = Entry(call.id + index_bytes(COMPLETED))
        self._completed_ref = ref_to(self._completed)

    @property
    def _entry(self) -> Entry:
        """Of the next value, or of the whole if there is none."""
        self._look()
        return self._made[0]._entry if self._made else self._completed

    def _look(self) -> bool:
        """Whether there is another value; makes it if need be."""
        if not self._made and not self._ended:
            self._step()
        return bool(self._made)

    def _step(self) -> None:
        calls = self._session.calls
        try:
            packed = calls.value(self._next())
        except (StopIteration, StopAsyncIteration):
            self._end()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self._add(calls.failed(self._call, error))
            self._end()
        else:
            self._add(packed)

    def _next(self) -> Any:
        if self._packed is not None:
            packed, self._packed = self._packed, None
            args, kwargs = self._session.calls.unpack(packed)
            self._generator = self._run(self._call.function, *args, **kwargs)
            if not inspect.isasyncgen(self._generator):
                self._generator = iter(self._generator)
        if inspect.isasyncgen(self._generator):
            return self._call.actor.loop.run(self._call, self._generator.__anext__)
        return self._run(next, self._generator)

    def _run(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        with inside(self._call):
            return function(*args, **kwargs)

    def _add(self, packed: Packed) -> None:
        entry = Entry(self._call.id + index_bytes(self._count))
        self._session.references.fill(entry, packed)
        self._made.append(ref_to(entry))
        self._count += 1

    def _end(self) -> None:
        self._ended = True
        self._generator = None
        self._session.references.fill(self._completed, self._session.calls.value(None))

    def __next__(self) -> ObjectRef[Any]:
        if not self._look():
            raise StopIteration
        return self._made.popleft()

    async def __anext__(self) -> ObjectRef[Any]:
        if not await asyncio.to_thread(self._look):
            raise StopAsyncIteration
        return self._made.popleft()

    def completed(self) -> ObjectRef[Any]:
        """A ref that is ready when the generator has ended: it runs to its end now."""
        while not self._ended:
            self._step()
        return self._completed_ref

    def next_ready(self) -> bool:
        """Whether there is another value; it is made now."""
        return self._look()

    def is_finished(self) -> bool:
        """Whether all values have been taken."""
        return not self._look()

    def task_id(self) -> Any:
        """The id of the task."""
        from ray_on_dask.ids import TaskID

        return TaskID.of(self._call.id)

    def __repr__(self) -> str:
        return f"ObjectRefGenerator({self._call.id.hex()})"
