"""`as_completed` and `map_unordered`: values of many tasks, as they come."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import ray_on_dask as ray


def as_completed(
    refs: Sequence[Any], *, chunk_size: int = 10, yield_obj_refs: bool = False
) -> Iterator[Any]:
    """Yield the values of refs, those that are ready first.

    Parameters
    ----------
    refs : list of ObjectRef
    chunk_size : int
        How many to wait for and fetch at a time; within so many they come in the order given.
    yield_obj_refs : bool
        Yield the refs instead.

    Raises
    ------
    ValueError
        For a `chunk_size` below 1.
    """
    _check_chunk(chunk_size)
    rest = list(refs)
    while rest:
        ready, rest = ray.wait(rest, num_returns=min(chunk_size, len(rest)))
        yield from ready if yield_obj_refs else ray.get(ready)


def map_unordered(
    fn: Any,
    items: Iterable[Any],
    *,
    backpressure_size: int | None = 100,
    chunk_size: int = 10,
    yield_obj_refs: bool = False,
) -> Iterator[Any]:
    """Call a remote function with each item, and yield the values as they are ready.

    Parameters
    ----------
    fn : RemoteFunction
        Or a method of an actor; anything with `.remote`.
    items : iterable
    backpressure_size : int, optional
        Calls under way at most; None for no limit.
    chunk_size : int
        As for `as_completed`.
    yield_obj_refs : bool
        Yield refs instead of values.

    Raises
    ------
    ValueError
        If `backpressure_size` is below `chunk_size`.
    """
    _check_chunk(chunk_size)
    if backpressure_size is not None and backpressure_size < chunk_size:
        raise ValueError("backpressure_size must be at least chunk_size")
    return _map_unordered(fn, iter(items), backpressure_size, chunk_size, yield_obj_refs)


def _map_unordered(
    fn: Any, items: Iterator[Any], limit: int | None, chunk_size: int, yield_obj_refs: bool
) -> Iterator[Any]:
    refs = [fn.remote(item) for item in (items if limit is None else islice(items, limit))]
    while refs:
        ready, refs = ray.wait(refs, num_returns=min(chunk_size, len(refs)))
        refs += [fn.remote(item) for item in islice(items, len(ready))]
        yield from ready if yield_obj_refs else ray.get(ready)


def _check_chunk(chunk_size: int) -> None:
    if chunk_size < 1:
        raise ValueError("chunk_size must be 1 or more")
