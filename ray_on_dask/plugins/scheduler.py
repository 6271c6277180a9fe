"""``dask scheduler --preload ray_on_dask.plugins.scheduler``."""

from ray_on_dask.plugins.preload import dask_setup, show_help

__all__ = ["dask_setup"]

if __name__ == "__main__":
    show_help()
