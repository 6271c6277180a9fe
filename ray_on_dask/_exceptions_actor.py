"""The errors of actors."""

from __future__ import annotations

from ray_on_dask._exceptions_base import RayError
from ray_on_dask._exceptions_task import RayTaskError


class RayActorError(RayError):
    """A call to an actor failed for what happened to the actor, not for what the method did.

    Parameters
    ----------
    actor_id : str, optional
        In hex.
    error_msg : str
        The text of the error.
    actor_init_failed : bool
        Whether its `__init__` raised.
    preempted : bool
        Whether it died because its node was taken away.
    """

    DEFAULT = "The actor failed before it finished this call."

    def __init__(
        self,
        actor_id: str | None = None,
        error_msg: str | None = None,
        actor_init_failed: bool = False,
        preempted: bool = False,
    ):
        self.actor_id = actor_id
        self.error_msg = self.DEFAULT if error_msg is None else error_msg
        self.actor_init_failed = actor_init_failed
        self.preempted = preempted
        super().__init__(self.error_msg)

    def __str__(self) -> str:
        return self.error_msg


class ActorDiedError(RayActorError):
    """The actor is dead: crashed, killed, exited, out of scope, or its `__init__` raised.

    Parameters
    ----------
    cause : RayTaskError or str, optional
        The failure of `__init__`, or a text that tells how the actor died.
    actor_id : str, optional
        In hex.
    preempted : bool
        Whether it died because its node was taken away.
    """

    DEFAULT = "The actor died before it finished this call."

    def __init__(
        self,
        cause: RayTaskError | str | None = None,
        actor_id: str | None = None,
        preempted: bool = False,
    ):
        failed = isinstance(cause, RayTaskError)
        text = f"The actor died because its __init__ failed: {cause}" if failed else cause
        super().__init__(actor_id, str(text) if text else None, failed, preempted)

    @classmethod
    def from_task_error(
        cls, task_error: RayTaskError, actor_id: str | None = None
    ) -> ActorDiedError:
        """The error of every call to an actor whose `__init__` failed with `task_error`."""
        return cls(task_error, actor_id)


class ActorUnavailableError(RayActorError):
    """The actor restarts or cannot be reached now; the call may or may not have run.

    Parameters
    ----------
    error_message : str
        What happened.
    actor_id : bytes or str, optional
        Its id, in hex if a str.
    """

    def __init__(self, error_message: str, actor_id: bytes | str | None = None):
        digits = actor_id.hex() if isinstance(actor_id, bytes) else actor_id
        text = (
            f"The actor {digits} is unavailable: {error_message}. "
            "The call may or may not have been run."
        )
        super().__init__(digits, text)


class ActorUnschedulableError(RayError):
    """The actor must live on a node that is gone, or that can never have what it asks for."""

    def __init__(self, error_message: str = ""):
        super().__init__(error_message)
        self.error_message = error_message

    def __str__(self) -> str:
        return f"The actor is not schedulable: {self.error_message}"


class ActorPlacementGroupRemoved(RayError):
    """The actor's placement group was removed before it could start."""

    DEFAULT = "The actor's placement group was removed before the actor could start."


class PendingCallsLimitExceeded(RayError):
    """The actor has `max_pending_calls` calls waiting already."""


class AsyncioActorExit(RayError):
    """What `exit_actor` raises inside an async actor."""


class ActorAlreadyExistsError(ValueError, RayError):
    """The name is taken by a living actor of the namespace."""

    def __init__(self, error_message: str = ""):
        super().__init__(error_message)
        self.error_message = error_message


class ActorHandleNotFoundError(ValueError, RayError):
    """The handle belongs to another session."""

    def __init__(self, error_message: str = ""):
        super().__init__(error_message)
        self.error_message = error_message
