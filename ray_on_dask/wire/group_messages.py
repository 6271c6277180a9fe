"""Messages about placement groups."""

from __future__ import annotations

from typing import Any

import msgspec


class CreateGroup(msgspec.Struct, frozen=True, array_like=True, tag=80):
    """Process to control store: reserve these bundles, all or none; tell me when they are."""

    #: 18 bytes, of which the first 8 name the process.
    id: bytes
    bundles: list[dict[str, int]]
    strategy: str = "PACK"
    name: str = ""
    namespace: str = ""
    detached: bool = False
    #: The node that is to be tried first, "" for none.
    target: str = ""
    #: {label: [operator, values]} for each bundle, what its node must have; [] for any.
    selectors: list[dict[str, list[Any]]] = []


class RemoveGroup(msgspec.Struct, frozen=True, array_like=True, tag=81):
    """Process to control store: give the bundles back, end what uses them."""

    id: bytes


class WatchGroup(msgspec.Struct, frozen=True, array_like=True, tag=82):
    """Process to control store: tell me about this group, now and at each change."""

    id: bytes


class GroupState(msgspec.Struct, frozen=True, array_like=True, tag=83):
    """Control store to whom has asked, and to its creator."""

    id: bytes
    #: "PENDING", "CREATED", "RESCHEDULING", "REMOVED".
    state: str


class KillLease(msgspec.Struct, frozen=True, array_like=True, tag=84):
    """Control store to node: end the executor that serves this lease."""

    lease: int
    reason: str
