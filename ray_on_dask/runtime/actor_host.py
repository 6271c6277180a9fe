"""An actor in its process: made once, then called, in the way its concurrency options say.

A plain actor runs its calls in the main thread, in the order in which they come. One with
`max_concurrency` or concurrency groups has a pool of threads a group. One with an `async def`
method has an event loop, in the main thread, which reads the process's sockets too: no
call changes threads on its way.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any

from ray_on_dask.runtime import arguments, current, job_environment, output, overlapping
from ray_on_dask.runtime.actor_end import forget_frames, stillborn, take_leave
from ray_on_dask.runtime.checkpoints import ByChoice, ByInterval, checkpoints_of
from ray_on_dask.runtime.interrupts import gone
from ray_on_dask.runtime.replies import Replies
from ray_on_dask.runtime.threaded_calls import ThreadedCalls
from ray_on_dask.wire import messages as m
from ray_on_dask.wire.channel import Channel

if TYPE_CHECKING:
    from ray_on_dask.runtime.executor import Executor

logger = logging.getLogger("ray_on_dask")

#: Calls at once of an asynchronous actor that does not say.
ASYNC_CALLS = 1000


#: Calls a function with arguments and keyword arguments.
Caller = Callable[[Callable[..., Any], Any, Any], Any]


class ActorExit(BaseException):
    """Raised by `exit_actor` to unwind the call that it is in."""


class ActorHost:
    """Holds the actor's instance and runs its methods."""

    def __init__(self, executor: Executor, message: m.BecomeActor):
        self.executor = executor
        self.spec = message.spec
        self.id = message.spec.id
        self.incarnation = message.incarnation
        self.instance: Any = None
        self.repr: str | None = None
        #: Whether the main thread has still to make the instance.
        self.wants_main = True
        self.exiting = ""
        self._saved = message.checkpoint
        self._checkpoints: ByInterval | ByChoice | None = None
        self.calls_done = 0
        self._calls: deque[tuple[Channel, m.Task]] = deque()
        self._threads: ThreadedCalls | None = None
        self._gates: dict[str, asyncio.Semaphore] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        #: Batches of calls that another thread than the loop's has read: later ones wait for them.
        self._late = 0
        self._futures: dict[bytes, asyncio.Future[Any]] = {}
        self._replies = Replies(executor)
        self._ready = False
        self._warned = False
        #: Of the thread that ends the process: others that are to end it too stay here till then.
        self._ending = threading.RLock()
        executor.served.last = max(executor.served.last, message.lease)
        job_environment.begin_lease(
            m.BeginLease(message.lease, "", m.SchedulingClass(message.spec.lifetime), message.gpus)
        )

    # -- birth ------------------------------------------------------------------------

    def take_main(self) -> None:
        """Make the instance, and serve: the main thread comes here when the actor is assigned."""
        self.wants_main = False
        output.begin(self.spec.class_name)
        try:
            self._make()
        except BaseException as error:
            self._say_ready(stillborn(self, error))
            self.executor.end(1)
        self._say_ready(b"")
        if self.spec.is_async:
            self._serve_loop()

    def _make(self) -> None:
        executor, spec = self.executor, self.spec
        executor.functions.receive(m.Function(spec.function, spec.class_name, spec.pickled))
        executor.references.on_trial = []
        task = m.Task(
            spec.id, spec.function, spec.args, list(spec.dependencies), name=spec.class_name
        )
        executor.begin(task, 0)
        self._start_threads()
        try:
            cls: Any = executor.functions.load(spec.function)
            args, kwargs = arguments.unpack(executor, task)
            if spec.is_async:
                self._start_loop()
            self.instance = cls.__new__(cls)  # so that `current_actor` works in `__init__`
            self._checkpoints = kept = checkpoints_of(self, cls)
            if kept is None or not (self._saved and kept.replaces_init):
                if self._loop is None:
                    executor.execution.call(self.instance.__init__, args, kwargs)
                else:
                    self._loop.run_until_complete(self._init_on_loop(args, kwargs))
            if kept is not None and self._saved:
                kept.restore(self._saved)
                self._saved = b""
            if type(self.instance).__repr__ is not object.__repr__:
                self.repr = repr(self.instance)
                output.rename(self.repr)
            else:
                self.repr = repr(self.instance)
        finally:
            executor.settle_trial()
            executor.finish(task)

    async def _init_on_loop(self, args: Any, kwargs: Any) -> None:
        """`__init__` of an asynchronous actor finds the running loop, and may be a coroutine."""
        made = self.executor.execution.call(self.instance.__init__, args, kwargs)
        if inspect.isawaitable(made):
            await made

    def _say_ready(self, error: bytes) -> None:
        with self.executor.lock:
            self.executor.to_hub(m.ActorReady(self.id, self.incarnation, error))
            self.executor.send_out()
            self._ready = True
            while self._calls:  # under the lock: calls that come now are behind these
                self._dispatch(*self._calls.popleft())
        output.title(f"ray::{self.spec.class_name}")

    @property
    def waiting(self) -> int:
        """Calls that are here and not in the queue of the main thread: those that run, too."""
        threaded = self._threads.active if self._threads is not None else 0
        return len(self._calls) + len(self._futures) + threaded

    # -- calls in -----------------------------------------------------------------------

    def on_calls(self, channel: Channel, tasks: list[m.Task]) -> None:
        """Calls have come, in order (under the process's lock)."""
        if not self._ready:
            self._calls.extend((channel, task) for task in tasks)
            return
        if self._loop is None and self._threads is None:
            append = self.executor.queue.append
            for task in tasks:
                append((channel, 0, task))
            self.executor.nudge()
        elif self._loop is None or (self.executor.main == threading.get_ident() and not self._late):
            self._dispatch_all(channel, tasks)
        else:
            self._late += 1
            self._loop.call_soon_threadsafe(self._dispatch_late, channel, tasks)

    def _dispatch_late(self, channel: Channel, tasks: list[m.Task]) -> None:
        with self.executor.lock:
            self._late -= 1
        self._dispatch_all(channel, tasks)

    def _dispatch_all(self, channel: Channel, tasks: list[m.Task]) -> None:
        for task in tasks:
            self._dispatch(channel, task)

    def _dispatch(self, channel: Channel, task: m.Task) -> None:
        if self._loop is not None:
            future = self._loop.create_task(self._run_async(channel, task))
            self._futures[task.id] = future
        elif self._threads is not None:
            self._threads.submit(channel, task)
        else:
            self.executor.queue.append((channel, 0, task))
            self.executor.nudge()

    def _start_threads(self) -> None:
        spec = self.spec
        if spec.is_async or (spec.max_concurrency <= 1 and not spec.concurrency_groups):
            return
        overlapping.note_parents(self.executor)
        groups = {"": max(1, spec.max_concurrency), **spec.concurrency_groups}
        self._threads = ThreadedCalls(self, self._replies, groups)

    # -- one call --------------------------------------------------------------------------

    def run(self, channel: Channel, task: m.Task, call: Caller) -> m.Result:
        """Run a call of a plain method in the calling thread, by ``call(method, args, kwargs)``."""
        executor = self.executor
        start, wall = perf_counter(), time.time()
        try:
            args: list[Any] = []
            kwargs: dict[str, Any] = {}
            if task.args.data or task.dependencies:
                args, kwargs = arguments.unpack(executor, task)
            value = call(self.method(task), args, kwargs)
            del args, kwargs
            values = executor.execution.values(task, value, channel.peer)
            return self._done(task, values, start, wall)
        except BaseException as error:
            return self._failed(channel, task, error, start, wall)

    def method(self, task: m.Task) -> Any:
        """The bound method that a call means."""
        if self.instance is None:  # another thread ends the process
            threading.Event().wait()
        if not task.method.startswith("__ray_"):
            return getattr(self.instance, task.method)
        if task.method == "__ray_call__":
            return lambda function, *args, **kwargs: function(self.instance, *args, **kwargs)
        if task.method == "__ray_ready__":
            return lambda: True
        if task.method == "__ray_terminate__":
            return self._terminate
        return getattr(self.instance, task.method)

    def _terminate(self) -> None:
        raise ActorExit("__ray_terminate__ was called")

    def _done(self, task: m.Task, values: list[m.Value], start: float, wall: float) -> m.Result:
        seconds = perf_counter() - start
        self.executor.events.ran(task, wall, seconds, True)
        self.calls_done += 1
        if self._checkpoints is not None:
            self._checkpoints.after_call()
        return m.Result(task.id, m.DONE, values, seconds)

    def _failed(
        self, channel: Channel, task: m.Task, error: BaseException, start: float, wall: float
    ) -> m.Result:
        seconds = perf_counter() - start
        self.executor.events.ran(task, wall, seconds, False)
        if isinstance(error, ActorExit | SystemExit):
            self.leave(error)
        if self._checkpoints is not None:
            self._checkpoints.after_call()
        return self.executor.execution.failed(task, error, seconds, channel.peer)

    # -- asynchronous --------------------------------------------------------------------------

    def _start_loop(self) -> None:
        self._loop = loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        threading.current_thread().name = "AsyncIO Thread: default"
        self.executor.reactor.hosted(loop, lambda: bool(self._futures))
        overlapping.note_parents(self.executor)
        spec = self.spec
        groups = {"": spec.max_concurrency or ASYNC_CALLS, **spec.concurrency_groups}
        self._gates = {name: asyncio.Semaphore(size) for name, size in groups.items()}

    def _serve_loop(self) -> None:
        assert self._loop is not None
        self._loop.run_forever()

    def will_block(self) -> None:
        """The calling thread is about to block: on the event loop that is warned of, once."""
        if self._warned or not self._ready or self._loop is None or not self._loop.is_running():
            return
        if threading.get_ident() == self.executor.main:
            self._warned = True
            logger.warning(
                "A method of the async actor %s blocks in get or wait: no other call goes on "
                "meanwhile. Await the ref instead, several by asyncio.gather.",
                self.spec.class_name,
            )

    async def _run_async(self, channel: Channel, task: m.Task) -> None:
        executor = self.executor
        current.call.set(task)
        gate = self._gates.get(task.group) or self._gates[""]
        start, wall = perf_counter(), time.time()
        try:
            async with gate:
                args: list[Any] = []
                kwargs: dict[str, Any] = {}
                if task.args.data or task.dependencies:
                    args, kwargs = await arguments.unpack_on_loop(executor, task)
                value = self.method(task)(*args, **kwargs)
                if inspect.isawaitable(value):
                    value = await value
                if inspect.isasyncgen(value):
                    values = await self._drive_async(channel, task, value)
                else:
                    values = executor.execution.values(task, value, channel.peer)
            result = self._done(task, values, start, wall)
        except asyncio.CancelledError:
            result = executor.handing.gone(task.id)
        except BaseException as error:
            result = self._failed(channel, task, error, start, wall)
        finally:
            self._futures.pop(task.id, None)
        self._reply_in_batch(channel, result)

    async def _drive_async(self, channel: Channel, task: m.Task, made: Any) -> list[m.Value]:
        count, yielding = 0, self.executor.yielding
        yielding.begin(task)
        try:
            async for value in made:
                yielding.send(task, count, value, channel.peer, channel)
                count += 1
                while yielding.behind(task, count):
                    await asyncio.sleep(0.002)
        finally:
            yielding.end(task)
        from ray_on_dask.serialization import serialize, to_bytes

        return [m.Value(m.INLINE, to_bytes(serialize(count)))]

    def _reply_in_batch(self, channel: Channel, result: m.Result) -> None:
        if self._replies.collect(channel, result):
            assert self._loop is not None
            self._loop.call_soon(self._send_replies)

    def _send_replies(self) -> None:
        self._replies.send_all()
        if self.exiting and not self._futures:
            self.end()

    # -- cancelling, leaving -----------------------------------------------------------------------

    def cancel(self, channel: Channel, message: m.Cancel) -> None:
        """Drop a call that waits; cancel one that is a coroutine; mark one that runs."""
        executor = self.executor
        for _, _, task in executor.take_queued(lambda item: item[2].id == message.task):
            channel.send(m.Results(0, [gone(task.id)]))
            return
        for early in [call for call in self._calls if call[1].id == message.task]:
            self._calls.remove(early)
            channel.send(m.Results(0, [gone(message.task)]))
            return
        executor.interrupts.cancelled.add(message.task)
        if self._loop is not None:  # behind the call itself, if that is on its way into the loop
            self._loop.call_soon_threadsafe(self._cancel_coroutine, channel, message.task)
        if message.recursive:
            executor.submitting.cancel_children(message.task, message.force)
            executor.send_out()

    def _cancel_coroutine(self, channel: Channel, task: bytes) -> None:
        future = self._futures.get(task)
        cancelled = self.executor.interrupts.cancelled
        if future is None or self._loop is None:
            cancelled.discard(task)
            return
        future.add_done_callback(lambda _: cancelled.discard(task))
        self._loop.call_soon(self._cancel_begun, channel, task, future)  # it ends by itself then

    def _cancel_begun(self, channel: Channel, task: bytes, future: asyncio.Future[Any]) -> None:
        """Cancel a coroutine; its caller is told now, as it may go on, or return something."""
        if task in self._futures:
            future.cancel()
            self._reply_in_batch(channel, self.executor.handing.gone(task))

    def caller_gone(self, channel: Channel) -> None:
        """A caller is gone: nobody waits for what it has asked."""
        self._replies.caller_gone(channel)

    def end_after_calls(self, reason: str) -> None:
        """No handle is left: end when the calls here have ended (under the lock)."""
        self.exiting = reason or "out of scope"
        if self._threads is not None:
            self._threads.end_when_idle()
        elif self._loop is not None and not self._futures:
            self._loop.call_soon_threadsafe(self.end)

    def leave(self, error: BaseException) -> None:
        """`exit_actor` or `sys.exit` in a call: the actor ends now."""
        executor = self.executor
        with self._ending:
            self._hand_over()  # first: callers that know of the end wait for no results
            reason = str(error) or "exit_actor() is called"
            if isinstance(error, SystemExit):
                reason = f"sys.exit({'' if error.code is None else repr(error.code)}) was called"
            with executor.lock:
                executor.to_hub(m.ActorExiting(self.id, self.incarnation, reason))
            forget_frames(error)
            self.end()

    def end(self) -> None:
        """End this process as a program ends (not locked)."""
        with self._ending:
            self._hand_over()
            take_leave(self)
            sys.stdout.flush()
            self.executor.end(0)

    def _hand_over(self) -> None:
        """Send the results that wait; return when callers hold the refs in them (not locked)."""
        self._replies.send_all()
        self.executor.handing.finish()
