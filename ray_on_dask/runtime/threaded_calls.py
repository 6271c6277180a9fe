"""The calls of an actor that runs several at once in threads: a pool for each concurrency group."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from ray_on_dask.runtime import current
from ray_on_dask.runtime.replies import Replies, deliver
from ray_on_dask.wire import messages as m
from ray_on_dask.wire.channel import Channel

if TYPE_CHECKING:
    from ray_on_dask.runtime.actor_host import ActorHost


class ThreadedCalls:
    """Runs calls and sends their results.

    Parameters
    ----------
    host : ActorHost
        Whose methods are called.
    replies : Replies
        Takes the results.
    sizes : mapping
        {concurrency group: threads}; that of calls which name none is "".
    """

    def __init__(self, host: ActorHost, replies: Replies, sizes: Mapping[str, int]):
        self.host = host
        #: Calls that are here and have not ended.
        self.active = 0
        self._pools = {
            name: ThreadPoolExecutor(size, thread_name_prefix=f"ray-{name or 'default'}")
            for name, size in sizes.items()
        }
        self._replies = replies
        #: Whether a thread is about to send results.
        self._sending = False

    def submit(self, channel: Channel, task: m.Task) -> None:
        """Have a thread run a call (under the process's lock)."""
        self.active += 1
        pool = self._pools.get(task.group) or self._pools[""]
        pool.submit(self._run, channel, task)

    def _run(self, channel: Channel, task: m.Task) -> None:
        executor = self.host.executor
        current.call.set(task)
        result = self.host.run(channel, task, _call)
        if task.id in executor.interrupts.cancelled:
            executor.interrupts.cancelled.discard(task.id)
            result = executor.handing.gone(task.id, result)
        self._reply(channel, result)

    def _reply(self, channel: Channel, result: m.Result) -> None:
        """Send a result; those of calls that end while another is being sent go together."""
        lock = self.host.executor.lock
        with lock:
            self.active -= 1
            self._replies.collect(channel, result)
            if self._sending:
                return  # the thread that sends takes it along
            batches = self._replies.take()
            self._sending = bool(batches)
        while batches:
            deliver(batches)
            with lock:
                batches = self._replies.take()
                self._sending = bool(batches)
        if self.host.exiting and self.idle:
            self.host.end()

    @property
    def idle(self) -> bool:
        """Whether all calls have ended and all results are sent."""
        return not (self.active or self._sending)

    def end_when_idle(self) -> None:
        """End the actor now if no call is left, else the last one does (under the lock)."""
        if self.idle:
            self._pools[""].submit(self.host.end)


def _call(method: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """Call it as it is: only the main thread of a process can be interrupted."""
    return method(*args, **kwargs)
