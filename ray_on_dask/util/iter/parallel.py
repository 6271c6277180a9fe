"""Iterators whose items lie in several actors, their shards.

What is done to the items before they are gathered is done in the actors. Each gathering is a pass
of its own: two at once do not take each other's items.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NoReturn

import ray_on_dask as ray
from ray_on_dask.util.iter.local import LocalIterator, Step
from ray_on_dask.util.iter.passes import Pass, Shard, as_they_come, in_turn
from ray_on_dask.util.iter.worker import ParallelIteratorWorker, Transform
from ray_on_dask.util.iter_metrics import SharedMetrics


class ParallelIterator:
    """Items in shards. Made by `from_items` and its like; may be passed to tasks and actors."""

    def __init__(self, shards: Iterable[Shard], name: str) -> None:
        self._shards = tuple(shards)
        self.name = name

    def __iter__(self) -> NoReturn:
        raise TypeError(
            "a ParallelIterator is read by gather_sync(), gather_async() or batch_across_shards()"
        )

    def __str__(self) -> str:
        return repr(self)

    def __repr__(self) -> str:
        return f"ParallelIterator[{self.name}]"

    # -- what is done to items, where they lie ------------------------------------------

    def _then(self, transform: Transform, name: str) -> ParallelIterator:
        shards = [Shard(s.actor, (*s.transforms, transform)) for s in self._shards]
        return ParallelIterator(shards, self.name + name)

    def transform(self, fn: Step) -> ParallelIterator:
        """The items that `fn(items)` gives for each shard."""
        return self._then(lambda items: items.transform(fn), ".transform()")

    def for_each(
        self,
        fn: Callable[[Any], Any],
        max_concurrency: int = 1,
        resources: dict[str, Any] | None = None,
    ) -> ParallelIterator:
        """`fn` of each item; in tasks of the shard's, if `max_concurrency` is not 1."""
        return self._then(
            lambda items: items.for_each(fn, max_concurrency, resources), ".for_each()"
        )

    def filter(self, fn: Callable[[Any], bool]) -> ParallelIterator:
        """The items of which `fn` is true."""
        return self._then(lambda items: items.filter(fn), ".filter()")

    def batch(self, n: int) -> ParallelIterator:
        """Lists of `n` items of one shard; a shard's last may have fewer."""
        return self._then(lambda items: items.batch(n), f".batch({n})")

    def flatten(self) -> ParallelIterator:
        """The items of each item."""
        return self._then(lambda items: items.flatten(), ".flatten()")

    def combine(self, fn: Callable[[Any], Iterable[Any]]) -> ParallelIterator:
        """All that `fn` gives for each item: it may give none, or several."""
        return self._then(lambda items: items.combine(fn), ".combine()")

    def local_shuffle(self, shuffle_buffer_size: int, seed: int | None = None) -> ParallelIterator:
        """Each shard's items in an order that is random within a buffer of so many."""
        return self._then(
            lambda items: items.shuffle(shuffle_buffer_size, seed),
            f".local_shuffle(shuffle_buffer_size={shuffle_buffer_size}, seed={seed})",
        )

    # -- shards -------------------------------------------------------------------------------

    def repartition(self, num_partitions: int, batch_ms: int = 0) -> ParallelIterator:
        """The items dealt out anew to so many shards; they go straight from actor to actor."""
        if num_partitions < 1:
            raise ValueError(f"num_partitions must be positive, but is {num_partitions}")
        sources, key = self._shards, uuid.uuid4().hex

        def deal(start: int) -> Callable[[], Iterator[Any]]:
            turn = [0]

            def items() -> Iterator[Any]:
                turn[0] += 1
                reading = f"{key}-{turn[0]}"
                passes = [Pass(s, batch_ms, reading, start, num_partitions) for s in sources]
                return as_they_come(passes, 1, None, SharedMetrics())

            return items

        return from_iterators(
            [deal(start) for start in range(num_partitions)],
            name=f"{self.name}.repartition[num_partitions={num_partitions}]",
        )

    def union(self, other: ParallelIterator) -> ParallelIterator:
        """The shards of both."""
        if not isinstance(other, ParallelIterator):
            raise TypeError(f"other must be a ParallelIterator, but is {type(other)}")
        return ParallelIterator((*self._shards, *other._shards), f"ParallelUnion[{self}, {other}]")

    def select_shards(self, shards_to_keep: list[int]) -> ParallelIterator:
        """The shards at these places."""
        if len(set(shards_to_keep)) < len(shards_to_keep):
            raise ValueError(f"shards_to_keep names a shard twice: {shards_to_keep}")
        for place in shards_to_keep:
            if not 0 <= place < len(self._shards):
                raise ValueError(f"there is no shard {place}: there are {len(self._shards)}")
        kept = [self._shards[place] for place in shards_to_keep]
        return ParallelIterator(kept, f"{self.name}.select_shards({len(kept)} total)")

    def num_shards(self) -> int:
        """How many there are."""
        return len(self._shards)

    def shards(self) -> list[LocalIterator]:
        """Each shard's items by themselves."""
        return [self.get_shard(place) for place in range(len(self._shards))]

    def get_shard(self, shard_index: int, batch_ms: int = 0, num_async: int = 1) -> LocalIterator:
        """One shard's items."""
        kept = self.select_shards([shard_index])
        made = kept.gather_async(batch_ms, num_async)
        made.name = f"{self.name}.shard[{shard_index}]"
        return made

    # -- gathering ------------------------------------------------------------------------------

    def gather_sync(self) -> LocalIterator:
        """The items of the shards in turn: one of each, then the next of each."""
        return self._in_turn(False, ".gather_sync()")

    def batch_across_shards(self) -> LocalIterator:
        """Lists with one item of each shard that still has any."""
        return self._in_turn(True, ".batch_across_shards()")

    def _in_turn(self, rounds: bool, name: str) -> LocalIterator:
        metrics, shards = SharedMetrics(), self._shards

        def items(timeout: float | None) -> Iterator[Any]:
            return in_turn([Pass(shard) for shard in shards], timeout, metrics, rounds)

        return LocalIterator(items, metrics, name=self.name + name)

    def gather_async(self, batch_ms: int = 0, num_async: int = 1) -> LocalIterator:
        """The items as they come, with `num_async` requests to each shard under way.

        With `batch_ms` a shard answers with what it has made in so many milliseconds, instead
        of with one item.
        """
        if num_async < 1:
            raise ValueError(f"num_async must be positive, but is {num_async}")
        if batch_ms < 0:
            raise ValueError(f"batch_ms must be 0 or more, but is {batch_ms}")
        metrics, shards = SharedMetrics(), self._shards

        def items(timeout: float | None) -> Iterator[Any]:
            passes = [Pass(shard, batch_ms) for shard in shards]
            return as_they_come(passes, num_async, timeout, metrics)

        return LocalIterator(items, metrics, name=f"{self.name}.gather_async()")

    def take(self, n: int) -> list[Any]:
        """The first `n` items of `gather_sync`."""
        return self.gather_sync().take(n)

    def show(self, n: int = 20) -> None:
        """Print the first `n` items of `gather_sync`."""
        self.gather_sync().show(n)


# -- where the items come from --------------------------------------------------------------


def from_items(items: list[Any], num_shards: int = 2, repeat: bool = False) -> ParallelIterator:
    """The items of a list, dealt out to shards in turn."""
    shards = [list(items[place::num_shards]) for place in range(num_shards)]
    kind = type(items[0]).__name__ if items else "None"
    more = ", repeat=True" if repeat else ""
    name = f"from_items[{kind}, {len(items)}, shards={num_shards}{more}]"
    return from_iterators(shards, repeat, name)


def from_range(n: int, num_shards: int = 2, repeat: bool = False) -> ParallelIterator:
    """The numbers below `n`, in shards that follow one another."""
    size = n // num_shards
    ends = [*(place * size for place in range(num_shards)), n]
    shards = [range(ends[place], ends[place + 1]) for place in range(num_shards)]
    name = f"from_range[{n}, shards={num_shards}{', repeat=True' if repeat else ''}]"
    return from_iterators(shards, repeat, name)


def from_iterators(
    generators: Iterable[Any], repeat: bool = False, name: str | None = None
) -> ParallelIterator:
    """One shard for each iterable, or function that gives one."""
    worker: Any = ray.remote(ParallelIteratorWorker)
    actors = [worker.remote(generator, repeat) for generator in generators]
    more = ", repeat=True" if repeat else ""
    return from_actors(actors, name or f"from_iterators[shards={len(actors)}{more}]")


def from_actors(actors: Iterable[Any], name: str | None = None) -> ParallelIterator:
    """One shard for each actor, whose class is derived from `ParallelIteratorWorker`."""
    shards = [Shard(actor) for actor in actors]
    return ParallelIterator(shards, name or f"from_actors[shards={len(shards)}]")
