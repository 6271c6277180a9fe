"""Messages about what is lost."""

from __future__ import annotations

import msgspec

from ray_on_dask.wire.values import Located


class NodeLost(msgspec.Struct, frozen=True, array_like=True, tag=8):
    """Control store to processes: a node is gone, with all that was stored there.

    But for these of the receiver's objects, of which there are copies.
    """

    node: str
    reason: str = ""
    moved: list[tuple[bytes, Located]] = []


class Missing(msgspec.Struct, frozen=True, array_like=True, tag=9):
    """Process to directory: this object is not where it should be."""

    id: bytes
    at: Located
