"""The errors of objects and of the store that holds them."""

from __future__ import annotations

from typing import Any

from ray_on_dask._exceptions_base import RayError


class GetTimeoutError(RayError, TimeoutError):
    """`get` was given less time than the objects took."""


class ObjectLostError(RayError):
    """All copies of an object are lost, and it cannot be made again.

    Parameters
    ----------
    object_ref_hex : str
        The ref's id.
    owner_address : optional
        Which process owned it.
    call_site : str
        Where the ref was made, if known.
    detail : str
        What is known beyond that, such as which node died.
    """

    REASON = "All copies of it are lost, and what made it is not known any more."

    def __init__(
        self, object_ref_hex: str, owner_address: Any = None, call_site: str = "", detail: str = ""
    ):
        super().__init__(object_ref_hex, owner_address, call_site)
        self.object_ref_hex = object_ref_hex
        self.owner_address = owner_address
        self.call_site = call_site
        self.detail = detail

    def __str__(self) -> str:
        made = f" The ref was made at {self.call_site}." if self.call_site else ""
        said = f"Object {self.object_ref_hex} cannot be had. {self.REASON}{made}"
        return f"{said} {self.detail}".strip()


class ObjectFetchTimedOutError(ObjectLostError):
    """No node that should have the object answered in time."""

    REASON = "No node that should have it answered in time."


class ObjectFreedError(ObjectLostError):
    """The object was freed by hand."""

    REASON = "It was freed by an explicit call; free only what no one will ask for."


class OwnerDiedError(ObjectLostError):
    """The process that made the ref died before the object was there."""

    REASON = "The process that owned it, where `.remote()` or `put` was called, has ended."


class ReferenceCountingAssertionError(ObjectLostError, AssertionError):
    """The object was deleted although a ref was alive; a defect of this package."""

    REASON = "It was deleted although a ref to it was alive, which is a defect: please report it."


class ObjectReconstructionFailedError(ObjectLostError):
    """The object is lost, and running its task again failed.

    Parameters
    ----------
    object_ref_hex, owner_address, call_site
        As for `ObjectLostError`.
    reason : str, optional
        One word for what stood in the way, such as `"MAX_ATTEMPTS_EXCEEDED"`.
    reason_message : str, optional
        The same as a sentence.
    """

    REASON = "It is lost, and its task could not be run again."

    def __init__(
        self,
        object_ref_hex: str,
        reason: str | None = None,
        reason_message: str | None = None,
        owner_address: Any = None,
        call_site: str = "",
    ):
        detail = " ".join([f"[{reason}]"] * bool(reason) + [reason_message or ""])
        super().__init__(object_ref_hex, owner_address, call_site, detail.strip())
        self.reason = reason
        self.reason_message = reason_message


class PlasmaObjectNotAvailable(RayError):
    """The object is not in the store of this node."""


class ObjectRefStreamEndOfStreamError(RayError):
    """A streaming generator has no more refs."""


class OufOfBandObjectRefSerializationException(RayError):
    """A ref was pickled outside of calls and `put`, where no one keeps its object."""


class ObjectStoreFullError(RayError):
    """The store is full of objects that are in use, in memory and on disk."""

    DEFAULT = "The object store is full of objects that are still in use."


class OutOfDiskError(RayError):
    """The object must be moved to disk, and the disk is full."""

    DEFAULT = "The object store is full, and so is the disk that it spills to."


class UnserializableException(RayError):
    """A task failed with an exception that cannot be unpickled here.

    Parameters
    ----------
    original_stack_trace : str
        The text of the failure as the executor saw it.
    """

    def __init__(self, original_stack_trace: str = ""):
        super().__init__(original_stack_trace)
        self._original_stack_trace = original_stack_trace

    def __str__(self) -> str:
        return (
            "The exception of a task could not be unpickled here. An exception class must be "
            "importable, and `cls(*exception.args)` must work, or it needs a `__reduce__`.\n"
            f"Original exception:\n{self._original_stack_trace}"
        )
