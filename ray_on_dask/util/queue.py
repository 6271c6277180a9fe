"""`Queue`: first in, first out, between any processes of a session."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Iterable
from typing import Any

import ray_on_dask as ray

#: Calls that may wait in a queue's actor at once: blocked ones must not keep others out.
_WAITING_MAX = 100_000


class Empty(queue.Empty):
    """There is nothing in the queue, or not as much as was asked for."""


class Full(queue.Full):
    """There is no room in the queue."""


class Queue:
    """A queue that lives in an actor: pass it to tasks and actors.

    Parameters
    ----------
    maxsize : int
        Items that it holds at most; 0 for no limit.
    actor_options : dict, optional
        Options of its actor, such as ``{"name": "jobs", "num_cpus": 0}``.

    Examples
    --------
    >>> from ray_on_dask.util.queue import Queue
    >>> jobs = Queue(maxsize=100)
    >>> jobs.put("sweep")
    >>> jobs.get()
    'sweep'
    """

    def __init__(self, maxsize: int = 0, actor_options: dict[str, Any] | None = None):
        self.maxsize = maxsize
        options = {"max_concurrency": _WAITING_MAX, **(actor_options or {})}
        #: A handle of the actor; None after `shutdown`.
        self.actor: Any = ray.remote(_Items).options(**options).remote(maxsize)

    def _actor(self) -> Any:
        if self.actor is None:
            raise ValueError("the queue was shut down")
        return self.actor

    # -- what is in it -----------------------------------------------------------------

    def __len__(self) -> int:
        return self.qsize()

    def qsize(self) -> int:
        """How many items there are."""
        count: int = ray.get(self._actor().qsize.remote())
        return count

    size = qsize

    def empty(self) -> bool:
        """Whether there is none."""
        return self.qsize() == 0

    def full(self) -> bool:
        """Whether there is no room."""
        return 0 < self.maxsize <= self.qsize()

    # -- putting -------------------------------------------------------------------------

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Add an item.

        Parameters
        ----------
        item : object
        block : bool
            Wait for room; if not, `Full` is raised when there is none.
        timeout : float, optional
            Seconds to wait at most; `Full` is raised then.

        Raises
        ------
        Full
        ValueError
            For a negative timeout.
        """
        if not block:
            self.put_nowait(item)
            return
        ray.get(self._actor().put.remote(item, _checked(timeout)))

    async def put_async(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """As `put`, for coroutines."""
        if not block:
            _raise_if(await self._actor().put_now.remote(item), Full)
            return
        await self._actor().put.remote(item, _checked(timeout))

    def put_nowait(self, item: Any) -> None:
        """Add an item; `Full` if there is no room now."""
        _raise_if(ray.get(self._actor().put_now.remote(item)), Full)

    def put_nowait_batch(self, items: Iterable[Any]) -> None:
        """Add all items, or none: `Full` if there is not room for all of them."""
        if not isinstance(items, Iterable):
            raise TypeError("Argument 'items' must be an Iterable")
        ray.get(self._actor().put_batch.remote(list(items)))

    # -- getting -------------------------------------------------------------------------

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Remove and return the item that has been there for longest.

        Parameters
        ----------
        block : bool
            Wait for one; if not, `Empty` is raised when there is none.
        timeout : float, optional
            Seconds to wait at most; `Empty` is raised then.

        Raises
        ------
        Empty
        ValueError
            For a negative timeout.
        """
        if not block:
            return self.get_nowait()
        return ray.get(self._actor().get.remote(_checked(timeout)))

    async def get_async(self, block: bool = True, timeout: float | None = None) -> Any:
        """As `get`, for coroutines."""
        if not block:
            return _only(await self._actor().get_now.remote())
        return await self._actor().get.remote(_checked(timeout))

    def get_nowait(self) -> Any:
        """Remove and return an item; `Empty` if there is none now."""
        return _only(ray.get(self._actor().get_now.remote()))

    def get_nowait_batch(self, num_items: int) -> list[Any]:
        """Remove and return so many items, or none: `Empty` if there are not that many."""
        if not isinstance(num_items, int):
            raise TypeError("Argument 'num_items' must be an int")
        if num_items < 0:
            raise ValueError("'num_items' must be nonnegative")
        items: list[Any] = ray.get(self._actor().get_batch.remote(num_items))
        return items

    # -- the end -------------------------------------------------------------------------

    def shutdown(self, force: bool = False, grace_period_s: int = 5) -> None:
        """End the queue's actor; the queue is of no use afterwards.

        Parameters
        ----------
        force : bool
            Kill it at once. It else ends by itself, and is killed after the grace period.
        grace_period_s : int
        """
        actor, self.actor = self.actor, None
        if actor is None:
            return
        if not force:
            ended = actor.__ray_terminate__.remote()
            done, _ = ray.wait([ended], num_returns=1, timeout=float(grace_period_s))
            if done:
                return
        ray.kill(actor, no_restart=True)


def _checked(timeout: float | None) -> float | None:
    if timeout is not None and timeout < 0:
        raise ValueError("'timeout' must be a non-negative number")
    return timeout


def _raise_if(failed: bool, error: type[Exception]) -> None:
    if failed:
        raise error


def _only(items: list[Any]) -> Any:
    _raise_if(not items, Empty)
    return items[0]


class _Items:
    """The actor of a queue: its methods all run on one event loop."""

    def __init__(self, maxsize: int):
        self._maxsize = maxsize
        self._queue: asyncio.Queue[Any] = asyncio.Queue(maxsize)

    def qsize(self) -> int:
        return self._queue.qsize()

    async def put(self, item: Any, timeout: float | None) -> None:
        try:
            await asyncio.wait_for(self._queue.put(item), timeout)
        except asyncio.TimeoutError:
            raise Full from None

    async def get(self, timeout: float | None) -> Any:
        try:
            return await asyncio.wait_for(self._queue.get(), timeout)
        except asyncio.TimeoutError:
            raise Empty from None

    def put_now(self, item: Any) -> bool:
        """Whether there was no room."""
        if self._queue.full():
            return True
        self._queue.put_nowait(item)
        return False

    def get_now(self) -> list[Any]:
        """One item or none."""
        return [] if self._queue.empty() else [self._queue.get_nowait()]

    def put_batch(self, items: list[Any]) -> None:
        room = self._maxsize - self._queue.qsize()
        if self._maxsize > 0 and len(items) > room:
            raise Full(f"Cannot add {len(items)} items to a queue with room for {room}.")
        for item in items:
            self._queue.put_nowait(item)

    def get_batch(self, count: int) -> list[Any]:
        if count > self._queue.qsize():
            raise Empty(f"Cannot get {count} items from a queue of size {self._queue.qsize()}.")
        return [self._queue.get_nowait() for _ in range(count)]
