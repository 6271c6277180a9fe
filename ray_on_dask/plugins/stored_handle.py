"""What lies in `worker.data` for a stored object: its name, for the bytes lie in shared memory."""

from __future__ import annotations

from dask.sizeof import sizeof


class StoredHandle:
    """An object of the store as Dask sees it.

    Sent to another worker it carries no bytes: that one is to read them from the store that has
    them (`plugins.copying`). Its `sizeof` is small, for the bytes are not in the worker's memory.

    Parameters
    ----------
    id : bytes
        The object's.
    home : str
        The node in whose store it is.
    """

    __slots__ = ("home", "id")

    def __init__(self, id: bytes, home: str):
        self.id = id
        self.home = home


@sizeof.register(StoredHandle)
def _sizeof(handle: StoredHandle) -> int:
    return 200
