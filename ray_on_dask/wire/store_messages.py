"""Messages about stored objects: what a process and its node's hub say to each other.

How an object is opened, in short (`runtime.opening`, `plugins.node_store`): a process maps an
object of its own node as it is told of it, without a word, until the node's store is *under
pressure*. Then, and for objects of other nodes always, it asks: `Open`, and the answer, `Opened`,
says where the object can be mapped now; the node *pins* it there for that process until `Closed`.
"""

from __future__ import annotations

import msgspec

from ray_on_dask.wire.values import Located, Value


class Sealed(msgspec.Struct, frozen=True, array_like=True, tag=50):
    """Writer to node: an object lies there, complete."""

    id: bytes
    at: Located
    #: Dask key it gets: "<function>-<hex>".
    key: str


class FreeObjects(msgspec.Struct, frozen=True, array_like=True, tag=51):
    """Owner to node, or directory to node: nobody can reach these any more."""

    ids: list[bytes]
    #: The node that has them, "" for the owner's own.
    node: str = ""
    #: Whether there are refs, and may be views: freed by word of mouth.
    forced: bool = False


class SpaceFreed(msgspec.Struct, frozen=True, array_like=True, tag=52):
    """Node to writer: these places of yours may be written again."""

    places: list[Located]
    #: Whether the memory is to go back to the system now: others wait for it.
    urgent: bool = False


class OwnerGone(msgspec.Struct, frozen=True, array_like=True, tag=53):
    """Control store to nodes: a process is dead; free what it owned, but for what others know."""

    process: str
    keep: list[bytes] = []


class Unheard(msgspec.Struct, frozen=True, array_like=True, tag=54):
    """Node to owner: an executor that wrote these for you has died; have you heard of them?"""

    owner: str
    objects: list[tuple[bytes, Located]]


class Unwanted(msgspec.Struct, frozen=True, array_like=True, tag=55):
    """Owner or writer to node: this result is nobody's (one of the same id may be)."""

    id: bytes
    at: Located
    #: As in `FreeObjects`.
    node: str = ""


class Open(msgspec.Struct, frozen=True, array_like=True, tag=90):
    """Process to node, and node to another node of its host: where can these be mapped?

    With each goes where it was when the sender last heard of it.
    """

    objects: list[tuple[bytes, Located]]


class Opened(msgspec.Struct, frozen=True, array_like=True, tag=91):
    """The answer for one object.

    STORED: it can be mapped at `value.at`, and stays there until `Closed`. ERROR, FREED: it
    cannot be had; nothing is pinned.
    """

    id: bytes
    value: Value


class Closed(msgspec.Struct, frozen=True, array_like=True, tag=92):
    """To whom `Open` was sent: the sender reads these no more."""

    ids: list[bytes]


class Pressure(msgspec.Struct, frozen=True, array_like=True, tag=93):
    """Node to its processes: from now on each object is opened by `Open`; what do you read?"""

    epoch: int


class Viewed(msgspec.Struct, frozen=True, array_like=True, tag=94):
    """Process to node: it reads these, so they are pinned until it says `Closed`.

    `epoch` is that of the `Pressure` that it answers, 0 if it says so of its own accord.
    """

    epoch: int
    ids: list[bytes]


class Forget(msgspec.Struct, frozen=True, array_like=True, tag=98):
    """Node to its processes: these are freed, whoever has refs; do you still read them?"""

    round: int
    ids: list[bytes]


class Forgotten(msgspec.Struct, frozen=True, array_like=True, tag=99):
    """The answer: it opens them no more, and reads these, which are pinned until `Closed`."""

    round: int
    ids: list[bytes]


class NeedRoom(msgspec.Struct, frozen=True, array_like=True, tag=95):
    """Process to node: there is no room for `size` bytes; make some and keep it for me."""

    request: int
    size: int
    #: Whether it is the file system that is full, and not the store.
    no_memory: bool = False


class Room(msgspec.Struct, frozen=True, array_like=True, tag=96):
    """Node to process: `size` bytes count as yours to take now, or there is no room."""

    request: int
    #: Pickled exception, b"" if there is room.
    error: bytes = b""


class TookRoom(msgspec.Struct, frozen=True, array_like=True, tag=97):
    """Process to node: it has counted the room as its own, or wants it no more."""

    request: int
