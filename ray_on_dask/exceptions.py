"""Every error of the package, by Ray's names.

All are `RayError`. What a task or a method of an actor raised arrives as a
`RayTaskError` that is also an instance of what was raised; the other classes
stand for one condition of the cluster each. This module needs nothing but
the standard library, so that any process may raise any of them.
"""

from __future__ import annotations

from typing import Any

from ray_on_dask._exceptions_actor import (
    ActorAlreadyExistsError,
    ActorDiedError,
    ActorHandleNotFoundError,
    ActorPlacementGroupRemoved,
    ActorUnavailableError,
    ActorUnschedulableError,
    AsyncioActorExit,
    PendingCallsLimitExceeded,
    RayActorError,
)
from ray_on_dask._exceptions_base import RayError
from ray_on_dask._exceptions_object import (
    GetTimeoutError,
    ObjectFetchTimedOutError,
    ObjectFreedError,
    ObjectLostError,
    ObjectReconstructionFailedError,
    ObjectRefStreamEndOfStreamError,
    ObjectStoreFullError,
    OufOfBandObjectRefSerializationException,
    OutOfDiskError,
    OwnerDiedError,
    PlasmaObjectNotAvailable,
    ReferenceCountingAssertionError,
    UnserializableException,
)
from ray_on_dask._exceptions_task import RayTaskError, argument_error, from_exception

__all__ = [
    "ActorAlreadyExistsError",
    "ActorDiedError",
    "ActorHandleNotFoundError",
    "ActorPlacementGroupRemoved",
    "ActorUnavailableError",
    "ActorUnschedulableError",
    "AsyncioActorExit",
    "AuthenticationError",
    "CrossLanguageError",
    "GetTimeoutError",
    "LocalRayletDiedError",
    "NodeDiedError",
    "ObjectFetchTimedOutError",
    "ObjectFreedError",
    "ObjectLostError",
    "ObjectReconstructionFailedError",
    "ObjectReconstructionFailedLineageEvictedError",
    "ObjectReconstructionFailedMaxAttemptsExceededError",
    "ObjectRefStreamEndOfStreamError",
    "ObjectStoreFullError",
    "OufOfBandObjectRefSerializationException",
    "OutOfDiskError",
    "OutOfMemoryError",
    "OwnerDiedError",
    "PendingCallsLimitExceeded",
    "PlasmaObjectNotAvailable",
    "RayActorError",
    "RayCancellationError",
    "RayCgraphCapacityExceeded",
    "RayChannelError",
    "RayChannelTimeoutError",
    "RayConnectionError",
    "RayDirectTransportError",
    "RayError",
    "RayOutOfMemoryError",
    "RaySystemError",
    "RayTaskError",
    "RayTimeoutError",
    "RayWorkerError",
    "ReferenceCountingAssertionError",
    "RpcError",
    "RuntimeEnvSetupError",
    "StreamingGeneratorReplayInconsistentError",
    "TaskCancelledError",
    "TaskPlacementGroupRemoved",
    "TaskUnschedulableError",
    "UnreconstructableError",
    "UnserializableException",
    "UserCodeException",
    "WorkerCrashedError",
    "argument_error",
    "from_exception",
]


# -- tasks ----------------------------------------------------------------------------


class TaskCancelledError(RayError):
    """The task was cancelled.

    Parameters
    ----------
    task_id : TaskID, optional
        None if it was cancelled before it ran.
    error_message : str, optional
        Why.
    """

    def __init__(self, task_id: Any = None, error_message: str | None = None):
        super().__init__(*(given for given in (task_id, error_message) if given is not None))
        self.task_id = task_id
        self.error_message = error_message

    def __str__(self) -> str:
        said = f"Task: {self.task_id!r} was cancelled. " if self.task_id else ""
        return (said + (self.error_message or "")).strip()


class WorkerCrashedError(RayError):
    """The process that ran the task died, and no retries were left."""

    DEFAULT = "The process that ran this task died unexpectedly."


class TaskUnschedulableError(RayError):
    """The task must run on a node that is gone, or that can never have what it asks for."""

    def __init__(self, error_message: str = ""):
        super().__init__(error_message)
        self.error_message = error_message

    def __str__(self) -> str:
        return f"The task is not schedulable: {self.error_message}"


class TaskPlacementGroupRemoved(RayError):
    """The task's placement group was removed before it could run."""

    DEFAULT = "The task's placement group was removed before the task could run."


class RuntimeEnvSetupError(RayError):
    """The `runtime_env` could not be set up.

    Parameters
    ----------
    error_message : str, optional
        What failed.
    """

    def __init__(self, error_message: str | None = None):
        super().__init__(*([] if error_message is None else [error_message]))
        self.error_message = error_message

    def __str__(self) -> str:
        return "\n".join(["The runtime_env could not be set up.", *map(str, self.args)])


class UserCodeException(RayError):
    """Code that the user handed in, other than a task, failed."""


class CrossLanguageError(RayError):
    """An error from a task in another language; there are none here, so nothing raises it."""


# -- the cluster ----------------------------------------------------------------------


class RaySystemError(RayError):
    """Something is wrong with the session or the cluster, not with the user's code.

    Parameters
    ----------
    client_exc : str or Exception
        What.
    traceback_str : str, optional
        Where, if known.
    """

    def __init__(self, client_exc: Any = "", traceback_str: str | None = None):
        super().__init__(client_exc, *([] if traceback_str is None else [traceback_str]))
        self.client_exc = client_exc
        self.traceback_str = traceback_str

    def __str__(self) -> str:
        text = f"System error: {self.client_exc}"
        return f"{text}\ntraceback: {self.traceback_str}" if self.traceback_str else text


class RayChannelError(RaySystemError):
    """A channel of a compiled graph is broken or closed."""


class RayChannelTimeoutError(RayChannelError, TimeoutError):
    """A channel of a compiled graph had nothing to read, or no room, in time."""


class RayCgraphCapacityExceeded(RaySystemError):
    """A compiled graph has as many executions in flight as it may have."""


class RayDirectTransportError(RaySystemError):
    """A tensor could not be moved directly between devices."""


class StreamingGeneratorReplayInconsistentError(RaySystemError):
    """A generator that was run again yielded another number of values."""


class NodeDiedError(RayError):
    """The node died."""

    DEFAULT = "The node died."

    def __init__(self, message: str = ""):
        super().__init__(*([message] if message else []))
        self.message = message


class OutOfMemoryError(RayError):
    """The task was killed because its node ran out of memory."""

    DEFAULT = "The process was killed because its node ran out of memory."

    def __init__(self, message: str = ""):
        super().__init__(*([message] if message else []))
        self.message = message


class LocalRayletDiedError(RayError):
    """The node that this process hangs on has died."""

    DEFAULT = "The node that this process belongs to has died."


class RpcError(RayError):
    """A request to another process failed.

    Parameters
    ----------
    message : str
        What happened.
    rpc_code : int, optional
        A number for it.
    """

    def __init__(self, message: str = "", rpc_code: int | None = None):
        super().__init__(message)
        self.rpc_code = rpc_code


class AuthenticationError(RayError):
    """The cluster did not accept this process.

    Parameters
    ----------
    message : str
        What to do about it.
    """

    def __init__(self, message: str = ""):
        super().__init__(message)
        self.message = message


# -- names of earlier eras ------------------------------------------------------------

RayConnectionError = RaySystemError
RayWorkerError = WorkerCrashedError
RayTimeoutError = GetTimeoutError
RayCancellationError = TaskCancelledError
RayOutOfMemoryError = OutOfMemoryError
UnreconstructableError = ObjectLostError
ObjectReconstructionFailedMaxAttemptsExceededError = ObjectReconstructionFailedError
ObjectReconstructionFailedLineageEvictedError = ObjectReconstructionFailedError

# The classes are spread over files of readable length, but are of this module to those who
# see them in a traceback or import them by the name that a pickle gives.
for _name in __all__:
    globals()[_name].__module__ = __name__
