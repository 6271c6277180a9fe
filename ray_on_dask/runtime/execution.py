"""Running one task: arguments in, the user's code, values out."""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ray_on_dask.ids import index_bytes
from ray_on_dask.runtime import arguments
from ray_on_dask.runtime.failures import ERROR_AT
from ray_on_dask.runtime.object_ref import ObjectRef
from ray_on_dask.runtime.storing import INLINE_MAX
from ray_on_dask.serialization import serialize, to_bytes
from ray_on_dask.wire import messages as m

if TYPE_CHECKING:
    from ray_on_dask.runtime.executor import Executor


def _wrong_number(count: int, task: m.Task) -> ValueError:
    return ValueError(f"Task returned {count} objects, but num_returns={task.returns}.")


NONE = m.Value(m.INLINE, to_bytes(serialize(None)))


class Execution:
    """Runs tasks in an executor and makes results of what they return or raise."""

    def __init__(self, executor: Executor):
        self.executor = executor
        #: Whether the main thread is in the user's code: only then may a task be interrupted.
        self.in_user_code = False

    def run(self, task: m.Task, owner: str) -> m.Result:
        """Run a task of a remote function to its end."""
        executor = self.executor
        start = wall = 0.0
        try:
            function = executor.functions.load(task.function)
            args: list[Any] = []
            kwargs: dict[str, Any] = {}
            if task.args.data or task.dependencies:
                args, kwargs = arguments.unpack(executor, task)
            wall, start = time.time(), perf_counter()
            value = self.call(function, args, kwargs)
            seconds = perf_counter() - start
            del args, kwargs
            values = self.values(task, value, owner)
            executor.events.ran(task, wall, seconds, True)
            return m.Result(task.id, m.DONE, values, seconds)
        except SystemExit as end:
            executor.leave(end)
            raise
        except BaseException as error:
            seconds = perf_counter() - start if start else 0.0
            executor.events.ran(task, wall or time.time(), seconds, False)
            return self.failed(task, error, seconds, owner)

    def call(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Call the user's function, interruptible."""
        self.in_user_code = True
        try:
            return function(*args, **kwargs)
        finally:
            self.in_user_code = False

    # -- results ------------------------------------------------------------------------

    def values(self, task: m.Task, value: Any, owner: str) -> list[m.Value]:
        """The results of a task that has returned `value`."""
        if task.flags & (m.STREAM | m.DYNAMIC):
            return self.executor.yielding.drive(task, value, owner)
        if task.returns == 1:
            if value is None:
                return [NONE]
            return [self.pack(value, task, 0, owner)]
        if task.returns == 0:
            return []
        parts = self._split(task, value)
        packed = [self._write(part, task, at) for at, part in enumerate(parts)]
        values = [value for value, _ in packed]
        for at, (_, refs) in enumerate(packed):
            self._hand_over(task, at, refs, owner)
        if len(values) < task.returns:  # a generator that has ended early: what it has made counts
            problem = _wrong_number(len(values), task)
            error = self.failed(task, problem, 0.0, owner).values
            values += error * (task.returns - len(values))
        return values

    @staticmethod
    def _split(task: m.Task, value: Any) -> list[Any]:
        if inspect.isgenerator(value):
            from itertools import islice

            parts = list(islice(value, task.returns))
            value.close()
            return parts
        else:
            len(value)
            parts = list(value)
        if len(parts) != task.returns:
            raise _wrong_number(len(parts), task)
        return parts

    def pack(self, value: Any, task: m.Task, at: int, owner: str) -> m.Value:
        """One result as it travels; refs inside it are handed to the owner."""
        packed, refs = self._write(value, task, at)
        self._hand_over(task, at, refs, owner)
        return packed

    def _write(self, value: Any, task: m.Task, at: int) -> tuple[m.Value, Sequence[ObjectRef[Any]]]:
        """One result, and the refs in it. They are handed over when all results are written:
        what fails before that has taken hold of nothing in the owner's name.
        """
        serialized = serialize(value)
        inner = [ref._entry.id for ref in serialized.inner]
        if serialized.size <= INLINE_MAX:
            return m.Value(m.INLINE, to_bytes(serialized), None, inner), serialized.inner
        id = task.id + index_bytes(at)
        label = self.executor.functions.name(task.function).rpartition(".")[2]
        located = self.executor.storing.write_result(id, serialized, label)
        return m.Value(m.STORED, b"", located, inner), serialized.inner

    def _hand_over(self, task: m.Task, at: int, refs: Sequence[ObjectRef[Any]], owner: str) -> None:
        """Hold the refs in a result until its owner does."""
        if refs:
            with self.executor.lock:
                held = self.executor.references.handing(refs)
                if held:
                    self.executor.handing.hold(task.id + index_bytes(at), owner, held)

    def failed(self, task: m.Task, error: BaseException, seconds: float, owner: str) -> m.Result:
        """The result of a task that has raised; refs in the error are handed to the owner."""
        from ray_on_dask.error_serialization import dumps_error_and_refs
        from ray_on_dask.exceptions import TaskCancelledError, from_exception

        status = m.FAILED
        if isinstance(error, KeyboardInterrupt):
            error = TaskCancelledError(error_message="The task was cancelled while it ran.")
            status = m.CANCELLED
        executor = self.executor
        made = from_exception(
            executor.name_of(task), error, proctitle=executor.title_of(task), pid=os.getpid(),
            ip=executor.ip, actor_repr=executor.actor_repr(), actor_id=executor.actor_id(),
        )  # fmt: skip
        executor.report_error(task, made)
        data, refs = dumps_error_and_refs(made)
        self._hand_over(task, ERROR_AT, refs, owner)
        value = m.Value(m.ERROR, data, None, [ref._entry.id for ref in refs])
        return m.Result(task.id, status, [value], seconds, type(error).__name__)
