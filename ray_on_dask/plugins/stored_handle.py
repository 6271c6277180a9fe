"""What lies in `worker.data` for a stored object: a handle on its bytes in shared memory."""

from __future__ import annotations

import errno
from typing import Any

from dask.sizeof import sizeof
from distributed.protocol.serialize import dask_deserialize, dask_serialize

from ray_on_dask.plugins import local_nodes
from ray_on_dask.wire.messages import Located


class StoredHandle:
    """An object of the store as Dask sees it.

    Sent to another worker it carries the bytes; `load` makes the value of it.
    Its `sizeof` is small, for the bytes are not in the worker's own memory.

    Parameters
    ----------
    at : Located, optional
        Where it lay when it became a key; it may have moved to disk.
    data : bytes
        The serialized value, where there is no `at`.
    id : bytes
        Its id, by which its node knows where it lies now.
    home : str
        The node that it has come from, where there is no `at`.
    """

    __slots__ = ("at", "data", "home", "id")

    def __init__(self, at: Located | None, data: bytes = b"", id: bytes = b"", home: str = ""):
        self.at = at
        self.home = home if at is None else at.node
        self.data = data
        self.id = id

    def frame(self) -> Any:
        """The serialized value; `FileNotFoundError` if the object is gone."""
        if self.at is None:
            return self.data
        while True:
            at = self._place()
            try:
                data = _read(at)
            except FileNotFoundError:
                if self._place() is at:
                    raise
                continue
            # The node notes that an object has moved before its old place is written again, so
            # what was read from a place that is still the object's is the object.
            if self._place() is at:
                return data

    def _place(self) -> Located:
        """Where it lies now: any thread of its node's process may ask."""
        assert self.at is not None
        node = local_nodes.nodes.get(self.at.node)
        stored = None if node is None else node.store.objects.objects.get(self.id)
        return self.at if stored is None else stored.at

    def load(self) -> Any:
        """The value, a copy of its own."""
        from ray_on_dask.serialization import deserialize

        return deserialize(bytes(self.frame()))


def _read(at: Located) -> bytes:
    with open(at.segment, "rb") as file:
        file.seek(at.offset)
        data = file.read(at.size)
    if len(data) < at.size:
        raise FileNotFoundError(errno.ENOENT, "shorter than its objects", at.segment)
    return data


@sizeof.register(StoredHandle)
def _sizeof(handle: StoredHandle) -> int:
    return 200 + len(handle.data)


@dask_serialize.register(StoredHandle)
def _serialize(handle: StoredHandle) -> tuple[dict[str, Any], list[Any]]:
    return {"home": handle.home, "id": handle.id}, [handle.frame()]


@dask_deserialize.register(StoredHandle)
def _deserialize(header: dict[str, Any], frames: list[Any]) -> StoredHandle:
    data = b"".join(bytes(frame) for frame in frames)
    return StoredHandle(None, data, header["id"], header["home"])
