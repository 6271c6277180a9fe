"""`multiprocessing.Pool` whose processes are actors, anywhere in the cluster."""

from multiprocessing import TimeoutError

from ray_on_dask.util.multiprocessing.pool import Pool

__all__ = ["Pool", "TimeoutError"]
