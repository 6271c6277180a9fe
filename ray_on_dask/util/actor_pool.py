"""`ActorPool`: work handed to whichever of some actors is free."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import ray_on_dask as ray

V = TypeVar("V")
#: Makes a call: ``lambda actor, value: actor.method.remote(value)``.
Call = Callable[[Any, V], Any]


@dataclass(eq=False)
class _Running:
    """A call that an actor has, and the ref or refs that it gave."""

    actor: Any
    result: Any

    @property
    def refs(self) -> list[Any]:
        return self.result if isinstance(self.result, list) else [self.result]


class ActorPool:
    """Some actors, each of which has one call at a time.

    Parameters
    ----------
    actors : list of ActorHandle

    Examples
    --------
    >>> import ray_on_dask as ray
    >>> from ray_on_dask.util import ActorPool
    >>> @ray.remote
    ... class Doubler:
    ...     def double(self, x):
    ...         return 2 * x
    >>> pool = ActorPool([Doubler.remote(), Doubler.remote()])
    >>> list(pool.map(lambda actor, value: actor.double.remote(value), [1, 2, 3]))
    [2, 4, 6]
    """

    def __init__(self, actors: list[Any]):
        self._idle: list[Any] = list(actors)
        #: Calls whose results nobody has taken, in the order in which they were submitted.
        self._running: dict[int, _Running] = {}
        self._waiting: deque[tuple[int, Call[Any], Any]] = deque()
        self._submitted = 0

    # -- all at once -----------------------------------------------------------------

    def map(self, fn: Call[V], values: Iterable[V]) -> Iterator[Any]:
        """Results of calls with each of the values, in their order.

        All is submitted now, and what earlier calls of this pool have not been asked for is
        dropped.

        Parameters
        ----------
        fn : callable
            Gets an actor and a value, gives a ref.
        values : iterable
        """
        self._submit_all(fn, values)
        return self._drain(self.get_next)

    def map_unordered(self, fn: Call[V], values: Iterable[V]) -> Iterator[Any]:
        """As `map`, but results come as they are ready."""
        self._submit_all(fn, values)
        return self._drain(self.get_next_unordered)

    def _submit_all(self, fn: Call[V], values: Iterable[V]) -> None:
        self._waiting.clear()
        for number in list(self._running):
            self._take(number)
        for value in values:
            self.submit(fn, value)

    def _drain(self, take: Callable[[], Any]) -> Iterator[Any]:
        while self.has_next():
            yield take()

    # -- one by one ------------------------------------------------------------------

    def submit(self, fn: Call[V], value: V) -> None:
        """Call ``fn(actor, value)`` with a free actor, now or as soon as there is one."""
        number = self._submitted
        self._submitted += 1
        self._waiting.append((number, fn, value))
        self._dispatch()

    def _dispatch(self) -> None:
        while self._idle and self._waiting:
            number, fn, value = self._waiting.popleft()
            actor = self._idle.pop()
            self._running[number] = _Running(actor, fn(actor, value))

    def has_next(self) -> bool:
        """Whether there is a result that nobody has taken, ready or not."""
        return bool(self._running or self._waiting)

    def get_next(self, timeout: float | None = None, ignore_if_timedout: bool = False) -> Any:
        """The result of the oldest call whose result nobody has taken.

        Parameters
        ----------
        timeout : float, optional
            Seconds; None waits for as long as it takes.
        ignore_if_timedout : bool
            Drop that call if it is not ready in time.

        Raises
        ------
        StopIteration
            If there is none.
        TimeoutError
            If it is not ready in time.
        Exception
            What the call has raised; its actor is free again.
        """
        if not self.has_next():
            raise StopIteration("No more results to get")
        number = self._oldest()
        refs = self._running[number].refs
        if timeout is not None:
            ready, _ = ray.wait(refs, num_returns=len(refs), timeout=float(timeout))
            if len(ready) < len(refs):
                if ignore_if_timedout:
                    self._take(number)
                raise TimeoutError("Timed out waiting for result")
        return self._result(number)

    def get_next_unordered(
        self, timeout: float | None = None, ignore_if_timedout: bool = False
    ) -> Any:
        """The result of whichever call is ready first; raises as `get_next`."""
        if not self.has_next():
            raise StopIteration("No more results to get")
        numbers = {running.refs[0]: number for number, running in self._running.items()}
        seconds = None if timeout is None else float(timeout)
        ready, _ = ray.wait(list(numbers), num_returns=1, timeout=seconds)
        if not ready:
            if ignore_if_timedout:
                self._take(self._oldest())
            raise TimeoutError("Timed out waiting for result")
        return self._result(numbers[ready[0]])

    def _oldest(self) -> int:
        return min(self._running)

    def _result(self, number: int) -> Any:
        result = self._running[number].result
        try:
            return ray.get(result)
        finally:
            self._take(number)

    def _take(self, number: int) -> None:
        """Forget a call; its actor takes the next."""
        self._idle.append(self._running.pop(number).actor)
        self._dispatch()

    # -- the actors -------------------------------------------------------------------

    def has_free(self) -> bool:
        """Whether an actor has nothing to do, and nothing waits for one."""
        return bool(self._idle) and not self._waiting

    def pop_idle(self) -> Any:
        """Take an actor out of the pool that has nothing to do; None if all are busy."""
        return self._idle.pop() if self.has_free() else None

    def push(self, actor: Any) -> None:
        """Put an actor into the pool.

        Raises
        ------
        ValueError
            If it is in the pool already.
        """
        if actor in self._idle or any(actor == each.actor for each in self._running.values()):
            raise ValueError("Actor already belongs to current ActorPool")
        self._idle.append(actor)
        self._dispatch()
