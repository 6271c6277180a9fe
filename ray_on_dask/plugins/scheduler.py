"""``dask scheduler --preload ray_on_dask.plugins.scheduler``."""

from ray_on_dask.plugins.preload import dask_setup

__all__ = ["dask_setup"]
