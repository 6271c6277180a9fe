"""Iterators whose parts lie in actors, as `ray.util.iter` of Ray 1.x had them."""

from __future__ import annotations

from ray_on_dask.util.iter.local import LocalIterator
from ray_on_dask.util.iter.parallel import (
    ParallelIterator,
    from_actors,
    from_items,
    from_iterators,
    from_range,
)
from ray_on_dask.util.iter.worker import ParallelIteratorWorker

__all__ = [
    "LocalIterator", "ParallelIterator", "ParallelIteratorWorker", "from_actors", "from_items",
    "from_iterators", "from_range",
]  # fmt: skip
