"""Remote functions, by the name that Ray's users import."""

from ray_on_dask.api.remote_function import RemoteFunction

__all__ = ["RemoteFunction"]
