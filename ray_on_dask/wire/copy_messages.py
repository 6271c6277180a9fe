"""Messages of nodes to the control store about other hosts: copies of objects, ways to nodes."""

from __future__ import annotations

import msgspec

from ray_on_dask.wire.values import Located


class Copied(msgspec.Struct, frozen=True, array_like=True, tag=111):
    """Node to control store: I have a copy of this object, whose home is that node."""

    id: bytes
    at: Located
    home: str


class Unreachable(msgspec.Struct, frozen=True, array_like=True, tag=113):
    """Node to control store: I cannot connect to that node, which is alive as far as I know."""

    node: str


class HandOver(msgspec.Struct, frozen=True, array_like=True, tag=114):
    """Control store to node: you are about to leave; have Dask know all your objects at once.

    The node asks ``all_known`` when that is done. False: you stay after all.
    """

    leaving: bool


class CopiesFreed(msgspec.Struct, frozen=True, array_like=True, tag=112):
    """Node to control store: these, of which there may be copies elsewhere, are garbage."""

    ids: list[bytes]
