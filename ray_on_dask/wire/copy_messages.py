"""Messages between nodes and the control store about copies of stored objects on other hosts."""

from __future__ import annotations

import msgspec

from ray_on_dask.wire.values import Located


class Copied(msgspec.Struct, frozen=True, array_like=True, tag=111):
    """Node to control store: I have a copy of this object, whose home is that node."""

    id: bytes
    at: Located
    home: str


class CopiesFreed(msgspec.Struct, frozen=True, array_like=True, tag=112):
    """Node to control store: these, of which there may be copies elsewhere, are garbage."""

    ids: list[bytes]
