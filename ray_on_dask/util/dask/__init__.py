"""Dask collections beside refs, and Dask graphs as Ray tasks.

`from_dask` and `to_dask` are this package's own; the other names are those of Ray's
`ray.util.dask`, with which Dask graphs run as tasks of this package instead of Dask's.
"""

from __future__ import annotations

from ray_on_dask.util.dask.callbacks import (
    RayDaskCallback,
    local_ray_callbacks,
    unpack_ray_callbacks,
)
from ray_on_dask.util.dask.collections import from_dask, to_dask
from ray_on_dask.util.dask.scheduler import (
    disable_dask_on_ray,
    enable_dask_on_ray,
    ray_dask_get,
    ray_dask_get_sync,
)

__all__ = [
    "RayDaskCallback", "disable_dask_on_ray", "enable_dask_on_ray", "from_dask",
    "local_ray_callbacks", "ray_dask_get", "ray_dask_get_sync", "to_dask", "unpack_ray_callbacks",
]  # fmt: skip
