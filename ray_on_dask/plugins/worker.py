"""``dask worker --preload ray_on_dask.plugins.worker --object-store-memory 4GB``."""

from ray_on_dask.plugins.preload import dask_setup, show_help

__all__ = ["dask_setup"]

if __name__ == "__main__":
    show_help()
