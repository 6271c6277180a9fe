"""Passes through the items of shards, and how several are read together."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import ray_on_dask as ray
from ray_on_dask.util.iter.local import NotReady
from ray_on_dask.util.iter.worker import Transform
from ray_on_dask.util.iter_metrics import SharedMetrics


@dataclass(frozen=True)
class Shard:
    """An actor, and what it is to do to its items."""

    actor: Any
    transforms: tuple[Transform, ...] = ()


class Pass:
    """One pass through a shard's items, read from here.

    Parameters
    ----------
    reading : str
        Its name, if several share the pass: each takes every `step`th item, from `start` on.
    """

    def __init__(
        self, shard: Shard, batch_ms: int = 0, reading: str = "", start: int = 0, step: int = 1
    ) -> None:
        self.actor = shard.actor
        #: Whether all items have come.
        self.over = False
        self._reading, self._step = reading or uuid.uuid4().hex, step
        self._arguments = (self._reading, batch_ms, start, step)
        self._begun = shard.actor.par_iter_init.remote(list(shard.transforms), self._reading)

    def ask(self) -> Any:
        """A ref to the next items, as `par_iter_pull` gives them."""
        return self.actor.par_iter_pull.remote(*self._arguments)

    def take(self, ref: Any) -> list[Any]:
        """The items that were asked for."""
        if self._begun is not None:
            ray.get(self._begun)
            self._begun = None
        items, over = ray.get(ref)
        self.over = self.over or over
        return list(items)

    def end(self) -> None:
        """Read no more, though there may be items."""
        if not self.over and self._step == 1:
            with contextlib.suppress(Exception):  # the session may have ended
                self.actor.par_iter_drop.remote(self._reading)


def in_turn(
    passes: list[Pass], timeout: float | None, metrics: SharedMetrics, rounds: bool
) -> Iterator[Any]:
    """One item of each pass, then the next of each; or lists of these, if `rounds`."""
    asked = {each: each.ask() for each in passes}
    try:
        while asked:
            together: list[Any] = []
            for each in list(asked):
                while timeout is not None and not _is_there(asked[each], timeout):
                    yield NotReady()
                items = each.take(asked.pop(each))
                if not each.over:
                    asked[each] = each.ask()
                metrics.get().current_actor = each.actor
                if rounds:
                    together += items
                else:
                    yield from items
            if together:
                yield together
    finally:
        for each in passes:
            each.end()


def as_they_come(
    passes: list[Pass], num_async: int, timeout: float | None, metrics: SharedMetrics
) -> Iterator[Any]:
    """The items of all passes, with `num_async` requests to each under way."""
    asked = {each.ask(): each for each in passes for _ in range(num_async)}
    try:
        while asked:
            limit = None if timeout is None else float(timeout)
            ready, _ = ray.wait(list(asked), num_returns=1, timeout=limit)
            if not ready:
                yield NotReady()
            for ref in ready:
                each = asked.pop(ref)
                items = each.take(ref)
                if not each.over:
                    asked[each.ask()] = each
                metrics.get().current_actor = each.actor
                yield from items
    finally:
        for each in passes:
            each.end()


def _is_there(ref: Any, timeout: float) -> bool:
    return bool(ray.wait([ref], timeout=float(timeout))[0])
