"""What lies in `worker.data` for a stored object: a handle on its bytes in shared memory."""

from __future__ import annotations

from typing import Any

from dask.sizeof import sizeof
from distributed.protocol.serialize import dask_deserialize, dask_serialize

from ray_on_dask.wire.messages import Located


class StoredHandle:
    """An object of the store as Dask sees it.

    Sent to another worker it carries the bytes; `load` makes the value of it.
    Its `sizeof` is small, for the bytes are not in the worker's own memory.
    """

    __slots__ = ("at", "data")

    def __init__(self, at: Located | None, data: bytes = b""):
        self.at = at
        self.data = data

    def frame(self) -> Any:
        """The serialized value."""
        if self.at is None:
            return self.data
        with open(self.at.segment, "rb") as file:
            file.seek(self.at.offset)
            return file.read(self.at.size)

    def load(self) -> Any:
        """The value, a copy of its own."""
        from ray_on_dask.serialization import deserialize

        return deserialize(bytes(self.frame()))


@sizeof.register(StoredHandle)
def _sizeof(handle: StoredHandle) -> int:
    return 200 + len(handle.data)


@dask_serialize.register(StoredHandle)
def _serialize(handle: StoredHandle) -> tuple[dict[str, Any], list[Any]]:
    return {}, [handle.frame()]


@dask_deserialize.register(StoredHandle)
def _deserialize(header: dict[str, Any], frames: list[Any]) -> StoredHandle:
    return StoredHandle(None, b"".join(bytes(frame) for frame in frames))
