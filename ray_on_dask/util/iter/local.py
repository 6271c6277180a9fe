"""Iterators that are read in one process; where the items come from is behind them.

Where a source has been asked not to wait, it gives `NotReady` in an item's place; every step hands
that through, and only a union looks at it.
"""

from __future__ import annotations

import collections
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import ray_on_dask as ray
from ray_on_dask.util.iter_metrics import MetricsContext, SharedMetrics

#: A step: from items to items.
Step = Callable[[Iterator[Any]], Iterator[Any]]
#: Gives the items anew; the argument is how long to wait for one, None for as long as it takes.
Source = Callable[[float | None], Iterable[Any]]

#: Longest pause of a union none of whose parts has an item, in seconds.
PAUSE_MAX = 0.02


class NotReady:
    """Stands for an item that is not there yet."""


class LocalIterator:
    """Items to be read one after another, and what is to be done to each on the way.

    Every method that changes items gives a new iterator; nothing is read before somebody asks for
    an item.
    """

    _active = threading.local()

    def __init__(
        self,
        base_iterator: Source,
        shared_metrics: SharedMetrics | None = None,
        local_transforms: list[Step] | None = None,
        timeout: float | None = None,
        name: str | None = None,
    ) -> None:
        self.base_iterator = base_iterator
        self.shared_metrics = shared_metrics or SharedMetrics()
        self.local_transforms = local_transforms or []
        self.timeout = timeout
        self.name = name or "LocalIterator"
        self._built: Iterator[Any] | None = None

    @staticmethod
    def get_metrics() -> MetricsContext:
        """What the functions of the iterator that is being read may write to.

        Raises
        ------
        ValueError
            Outside of such a function.
        """
        metrics: MetricsContext | None = getattr(LocalIterator._active, "metrics", None)
        if metrics is None:
            raise ValueError("get_metrics is for functions that an iterator calls")
        return metrics

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if self._built is None:
            items = iter(self.base_iterator(self.timeout))
            for step in self.local_transforms:
                items = step(items)
            self._built = items
        before = getattr(LocalIterator._active, "metrics", None)
        LocalIterator._active.metrics = self.shared_metrics.get()
        try:
            return next(self._built)
        finally:
            LocalIterator._active.metrics = before

    def __str__(self) -> str:
        return repr(self)

    def __repr__(self) -> str:
        return f"LocalIterator[{self.name}]"

    def transform(self, fn: Step, name: str = ".transform()") -> LocalIterator:
        """The items that `fn(items)` gives."""
        return LocalIterator(
            self.base_iterator, self.shared_metrics, [*self.local_transforms, fn], self.timeout,
            self.name + name,
        )  # fmt: skip

    def for_each(
        self,
        fn: Callable[[Any], Any],
        max_concurrency: int = 1,
        resources: dict[str, Any] | None = None,
    ) -> LocalIterator:
        """`fn` of each item, in order.

        With `max_concurrency` above 1 in so many tasks at once, 0 for any number, which need
        `resources` (options of `ray.remote`).
        """
        if max_concurrency == 1:
            return self.transform(lambda items: _map(fn, items), ".for_each()")
        if max_concurrency < 0:
            raise ValueError(f"max_concurrency must be 0 or more, but is {max_concurrency}")

        def run(items: Iterator[Any]) -> Iterator[Any]:
            task = ray.remote(**resources)(fn) if resources else ray.remote(fn)
            running: collections.deque[Any] = collections.deque()
            for item in items:
                if isinstance(item, NotReady):
                    yield item
                    continue
                if max_concurrency and len(running) >= max_concurrency:
                    yield ray.get(running.popleft())
                running.append(task.remote(item))
            while running:
                yield ray.get(running.popleft())

        return self.transform(run, ".for_each()")

    def filter(self, fn: Callable[[Any], bool]) -> LocalIterator:
        """The items of which `fn` is true."""
        return self.transform(
            lambda items: (x for x in items if isinstance(x, NotReady) or fn(x)), ".filter()"
        )

    def batch(self, n: int) -> LocalIterator:
        """Lists of `n` items; the last may have fewer."""
        if n < 1:
            raise ValueError(f"a batch has at least one item, not {n}")
        return self.transform(lambda items: _batches(n, items), f".batch({n})")

    def flatten(self) -> LocalIterator:
        """The items of each item."""
        return self.transform(_flatten, ".flatten()")

    def combine(self, fn: Callable[[Any], Iterable[Any]]) -> LocalIterator:
        """All that `fn` gives for each item: it may give none, or several."""
        made = self.for_each(fn).flatten()
        made.name = self.name + ".combine()"
        return made

    def shuffle(self, shuffle_buffer_size: int, seed: int | None = None) -> LocalIterator:
        """The items in an order that is random within a buffer of so many."""
        if shuffle_buffer_size < 1:
            raise ValueError(f"shuffle_buffer_size must be positive, but is {shuffle_buffer_size}")
        return self.transform(
            lambda items: _shuffled(shuffle_buffer_size, random.Random(seed), items),
            f".shuffle(shuffle_buffer_size={shuffle_buffer_size}, seed={seed})",
        )

    def zip_with_source_actor(self) -> LocalIterator:
        """Pairs of the actor that an item came from, and the item."""
        return self.transform(
            lambda items: (
                x if isinstance(x, NotReady) else (self.shared_metrics.get().current_actor, x)
                for x in items
            ),
            ".zip_with_source_actor()",
        )

    def take(self, n: int) -> list[Any]:
        """The next `n` items, or as many as there are."""
        return [item for _, item in zip(range(n), self, strict=False)]

    def show(self, n: int = 20) -> None:
        """Print the next `n` items."""
        for item in self.take(n):
            print(item)

    def duplicate(self, n: int) -> list[LocalIterator]:
        """`n` iterators of the same items; what one has read is kept until all have."""
        if n < 2:
            raise ValueError(f"an iterator is duplicated 2 times or more, not {n}")
        waiting: list[collections.deque[Any]] = [collections.deque() for _ in range(n)]
        source = LocalIterator(self.base_iterator, self.shared_metrics, self.local_transforms)

        def copy(place: int) -> Source:
            def items(timeout: float | None) -> Iterator[Any]:
                while True:
                    if not waiting[place]:
                        source.timeout = timeout
                        item = next(source, StopIteration)
                        if item is StopIteration:
                            return
                        if isinstance(item, NotReady):
                            yield item
                            continue
                        for queue in waiting:
                            queue.append(item)
                    yield waiting[place].popleft()

            return items

        name = self.name + f".duplicate[{{}}]({n})"
        return [
            LocalIterator(copy(place), self.shared_metrics, name=name.format(place))
            for place in range(n)
        ]

    def union(
        self,
        *others: LocalIterator,
        deterministic: bool = False,
        round_robin_weights: list[float | str] | None = None,
    ) -> LocalIterator:
        """The items of this and other iterators, as they come.

        Parameters
        ----------
        deterministic : bool
            In turn, one of each, waiting for each.
        round_robin_weights : list, optional
            In turn, so many of each at most; "*" for as many as are there. One weight for each
            iterator, this one's first.
        """
        parts = [self, *others]
        for part in others:
            if not isinstance(part, LocalIterator):
                raise TypeError(f"other must be a LocalIterator, but is {type(part)}")
        weights: list[float] = [1] * len(parts)
        if round_robin_weights:
            weights = [float("inf") if w == "*" else float(w) for w in round_robin_weights]
        if len(weights) != len(parts):
            raise ValueError(f"{len(parts)} iterators need as many weights, not {len(weights)}")
        metrics = SharedMetrics()
        metrics.parents = [part.shared_metrics for part in parts]
        metrics.set(metrics.get())
        patient = deterministic and not round_robin_weights

        def items(timeout: float | None) -> Iterator[Any]:
            again = [
                LocalIterator(part.base_iterator, part.shared_metrics, part.local_transforms,
                              timeout if patient else 0.0)
                for part in parts
            ]  # fmt: skip
            return _united(list(zip(again, weights, strict=True)), timeout)

        name = f"LocalUnion[{', '.join(map(str, parts))}]"
        return LocalIterator(items, metrics, name=name)


# -- steps --------------------------------------------------------------------------------


def _map(fn: Callable[[Any], Any], items: Iterator[Any]) -> Iterator[Any]:
    for item in items:
        yield item if isinstance(item, NotReady) else fn(item)


def _batches(n: int, items: Iterator[Any]) -> Iterator[Any]:
    batch: list[Any] = []
    for item in items:
        if isinstance(item, NotReady):
            yield item
            continue
        batch.append(item)
        if len(batch) >= n:
            yield batch
            batch = []
    if batch:
        yield batch


def _flatten(items: Iterator[Any]) -> Iterator[Any]:
    for item in items:
        if isinstance(item, NotReady):
            yield item
        else:
            yield from item


def _shuffled(size: int, draw: random.Random, items: Iterator[Any]) -> Iterator[Any]:
    buffer: list[Any] = []
    for item in items:
        if isinstance(item, NotReady):
            yield item
            continue
        buffer.append(item)
        if len(buffer) >= size:
            yield buffer.pop(draw.randrange(len(buffer)))
    while buffer:
        yield buffer.pop(draw.randrange(len(buffer)))


def _united(parts: list[tuple[LocalIterator, float]], timeout: float | None) -> Iterator[Any]:
    pause = 0.0
    while parts:
        came = False
        for part, weight in list(parts):
            taken = 0
            while taken < weight:
                item = next(part, StopIteration)
                if item is StopIteration:
                    parts.remove((part, weight))
                    break
                if isinstance(item, NotReady):
                    break
                came, taken = True, taken + 1
                yield item
        if came:
            pause = 0.0
        elif parts and timeout is not None:
            yield NotReady()
        elif parts:
            pause = min(PAUSE_MAX, 2 * pause + 0.0005)
            time.sleep(pause)
