"""Actor classes and handles, by the names that Ray's users import."""

from __future__ import annotations

from typing import NoReturn

from ray_on_dask.api.actor_class import ActorClass, ActorClassInheritanceException
from ray_on_dask.api.actor_handle import ActorHandle, ActorMethod
from ray_on_dask.api.checkpointable import Checkpoint, Checkpointable, CheckpointContext

__all__ = [
    "ActorClass", "ActorClassInheritanceException", "ActorHandle", "ActorMethod", "ActorProxy",
    "Checkpoint", "CheckpointContext", "Checkpointable", "exit_actor",
]  # fmt: skip

ActorProxy = ActorHandle


def exit_actor() -> NoReturn:
    """End the actor whose method calls this; its calls raise `ActorDiedError`.

    Raises
    ------
    TypeError
        Outside of an actor.
    """
    from ray_on_dask.runtime import current
    from ray_on_dask.runtime.actor_host import ActorExit

    process = current.process
    call = current.call.get()
    in_local_actor = process is None and call is not None and call.actor is not None
    if not in_local_actor and getattr(process, "host", None) is None:
        raise TypeError("exit_actor API is called on a non-actor worker, in a driver or a task.")
    raise ActorExit("exit_actor() is called")
