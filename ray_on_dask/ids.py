"""Identifiers of everything that has one: fixed-size byte strings with a hex face.

An object's id is the id of the task that makes it (16 bytes: 8 that name the
process or job that submitted it, 8 that count) and the index of the value
among the task's results (4 bytes, little-endian; `PUT_INDEX` marks a `put`).
"""

from __future__ import annotations

import hashlib
import itertools
import os
from typing import ClassVar, TypeVar

#: Bytes in an object id; its repr shows twice as many hex digits.
OBJECT_ID_SIZE = 20
#: Bytes in a task id.
TASK_ID_SIZE = 16
#: The index part of an object made by `put`, not by a task.
PUT_INDEX = b"\xff\xff\xff\x7f"
#: The index part of each of a task's first results: `INDEX[i]`.
INDEX = tuple(i.to_bytes(4, "little") for i in range(64))

Id = TypeVar("Id", bound="BaseID")


def index_bytes(i: int) -> bytes:
    """The four bytes that mark the `i`-th result of a task."""
    return INDEX[i] if i < 64 else i.to_bytes(4, "little")


def new_process_name() -> str:
    """A name for a process that no other will have: 16 random hex digits.

    The name is its own incarnation number: a process that is replaced has
    another name, so a stale message is known by the name it carries.
    """
    return os.urandom(8).hex()


class TaskIds:
    """Makes task ids that are unique in the cluster, or the same in each run under a seed.

    Parameters
    ----------
    prefix : bytes
        Eight bytes that no other process uses.
    """

    __slots__ = ("_count", "prefix")

    def __init__(self, prefix: bytes):
        self.prefix = prefix
        self._count = itertools.count(1)

    @classmethod
    def random(cls) -> TaskIds:
        """Ids that differ in each run."""
        return cls(os.urandom(8))

    @classmethod
    def seeded(cls, *seed: object) -> TaskIds:
        """Ids that follow from `seed` alone (`init(object_id_seed=...)`)."""
        return cls(hashlib.blake2b(repr(seed).encode(), digest_size=8).digest())

    def next(self) -> bytes:
        """The next task id, `TASK_ID_SIZE` bytes. Safe to call from any thread."""
        return self.prefix + next(self._count).to_bytes(8, "little")


class BaseID:
    """An immutable id of `SIZE` bytes.

    Parameters
    ----------
    binary : bytes
        Exactly `SIZE` bytes.

    Raises
    ------
    ValueError
        If `binary` is not bytes of that length.
    """

    SIZE: ClassVar[int] = 28
    __slots__ = ("_bytes",)

    def __init__(self, binary: bytes):
        if not isinstance(binary, bytes) or len(binary) != self.SIZE:
            raise ValueError(f"{type(self).__name__} takes {self.SIZE} bytes, got {binary!r}")
        self._bytes = binary

    def binary(self) -> bytes:
        """The id as bytes."""
        return self._bytes

    def hex(self) -> str:
        """The id as hex digits."""
        return self._bytes.hex()

    def is_nil(self) -> bool:
        """Whether this is the id of nothing (all bits set)."""
        return self._bytes == b"\xff" * self.SIZE

    @classmethod
    def size(cls) -> int:
        """Bytes in an id of this kind."""
        return cls.SIZE

    @classmethod
    def nil(cls: type[Id]) -> Id:
        """The id of nothing."""
        return cls(b"\xff" * cls.SIZE)

    @classmethod
    def from_random(cls: type[Id]) -> Id:
        """A new random id."""
        return cls(os.urandom(cls.SIZE))

    @classmethod
    def from_binary(cls: type[Id], binary: bytes) -> Id:
        """The id with these bytes; `ValueError` if their number is wrong."""
        return cls(binary)

    @classmethod
    def from_hex(cls: type[Id], digits: str) -> Id:
        """The id with these hex digits; `ValueError` if they are not such."""
        return cls(bytes.fromhex(digits))

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._bytes == self._bytes

    def __hash__(self) -> int:
        return hash(int.from_bytes(self._bytes, "little"))  # the same in every process

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.hex()})"

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self._bytes,)


class UniqueID(BaseID):
    """An id of 28 bytes."""

    __slots__ = ()


class JobID(BaseID):
    """The id of one driver's session: 4 bytes."""

    SIZE = 4
    __slots__ = ()

    @classmethod
    def from_int(cls, number: int) -> JobID:
        """The id of job `number` (little-endian)."""
        return cls(number.to_bytes(4, "little"))


class NodeID(UniqueID):
    """The id of a node (one Dask worker): 28 bytes."""

    __slots__ = ()


class WorkerID(UniqueID):
    """The id of a driver or executor process: 28 bytes."""

    __slots__ = ()


class TaskID(BaseID):
    """The id of one call of a remote function: 24 bytes, of which this package uses 16."""

    SIZE = 24
    __slots__ = ()

    @classmethod
    def of(cls, task: bytes) -> TaskID:
        """The public form of a task id, `TASK_ID_SIZE` bytes."""
        return cls(task + bytes(cls.SIZE - TASK_ID_SIZE))


class ActorID(BaseID):
    """The id of an actor: 16 bytes."""

    SIZE = 16
    __slots__ = ()


class FunctionID(BaseID):
    """The id of a pickled function: the hash of its bytes, 16 long."""

    SIZE = 16
    __slots__ = ()


class ActorClassID(BaseID):
    """The id of a pickled actor class: the hash of its bytes, 16 long."""

    SIZE = 16
    __slots__ = ()


class PlacementGroupID(BaseID):
    """The id of a placement group: 18 bytes."""

    SIZE = 18
    __slots__ = ()
