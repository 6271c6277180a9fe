"""One shard of a parallel iterator: an actor that makes its items and hands them out."""

from __future__ import annotations

import collections
import time
from collections.abc import Callable, Iterator
from typing import Any

from ray_on_dask.util.iter.local import LocalIterator

#: What is done to a shard's items where they lie.
Transform = Callable[[LocalIterator], LocalIterator]


class _Reading:
    """One pass through the items, perhaps shared by several readers that take every nth."""

    def __init__(self, items: Iterator[Any]) -> None:
        self.items = items
        self.count = 0
        self.over = False
        #: {place: items that were met while another place was read}.
        self.waiting: dict[int, collections.deque[Any]] = {}
        self.done: set[int] = set()

    def next(self, start: int, step: int) -> tuple[bool, Any]:
        """Whether there is another item for this place, and the item."""
        mine = self.waiting.setdefault(start, collections.deque())
        while not mine and not self.over:
            try:
                item = next(self.items)
            except StopIteration:
                self.over = True
                break
            place, self.count = self.count % step, self.count + 1
            self.waiting.setdefault(place, collections.deque()).append(item)
        if mine:
            return True, mine.popleft()
        self.done.add(start)
        return False, None


class ParallelIteratorWorker:
    """An actor class derived from this can be a shard of `from_actors`.

    Parameters
    ----------
    item_generator : iterable or callable
        The items, or a function that gives them; a new pass begins with a new iterator of it.
    repeat : bool
        Whether to begin again at the end, for ever.
    """

    def __init__(self, item_generator: Any, repeat: bool) -> None:
        self._make = item_generator if callable(item_generator) else lambda: item_generator
        self._repeat = repeat
        self._readings: dict[str, _Reading] = {}

    def _items(self, _timeout: float | None) -> Iterator[Any]:
        while True:
            yield from self._make()
            if not self._repeat:
                return

    def par_iter_init(self, transforms: list[Transform], reading: str = "") -> None:
        """Begin a pass through the items; one of that name goes on, unless it has none."""
        if reading and reading in self._readings:
            return
        items = LocalIterator(self._items)
        for transform in transforms:
            items = transform(items)
        self._readings[reading] = _Reading(items)

    def par_iter_next(self) -> Any:
        """The next item of the pass without a name.

        Raises
        ------
        StopIteration
            At the end.
        """
        found, item = self._readings[""].next(0, 1)
        if not found:
            raise StopIteration
        return item

    def par_iter_pull(
        self, reading: str, batch_ms: int = 0, start: int = 0, step: int = 1
    ) -> tuple[list[Any], bool]:
        """Items of a pass, and whether that was all.

        One item, or with `batch_ms` as many as are made in so many milliseconds. Of all items
        those at `start`, `start + step` and so on.
        """
        current = self._readings.get(reading)
        if current is None:
            return [], True
        end = time.monotonic() + batch_ms / 1000
        items: list[Any] = []
        while not items or time.monotonic() < end:
            found, item = current.next(start, step)
            if not found:
                if len(current.done) == step:
                    self.par_iter_drop(reading)
                return items, True
            items.append(item)
        return items, False

    def par_iter_drop(self, reading: str) -> None:
        """Nobody reads this pass any more."""
        self._readings.pop(reading, None)
