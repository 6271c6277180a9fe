"""`kill`: end an actor."""

from __future__ import annotations

from ray_on_dask.api import session as sessions
from ray_on_dask.api.actor_handle import ActorHandle
from ray_on_dask.wire.messages import KillActor


def kill(actor: ActorHandle, *, no_restart: bool = True) -> None:
    """End an actor at once; its running and queued calls raise `ActorDiedError`.

    Parameters
    ----------
    actor : ActorHandle
    no_restart : bool
        If False, it is made again as its `max_restarts` allows.

    Raises
    ------
    ValueError
        For what is no actor handle.
    """
    session = sessions.running_session()
    if not isinstance(actor, ActorHandle):
        raise ValueError(
            "ray.kill() only supported for actors. For tasks, try ray.cancel(). "
            f"Got: {type(actor)}."
        )
    if session is None:
        sessions.local_session().kill(actor, no_restart)
        return
    if actor._session is not session.session:
        from ray_on_dask.exceptions import ActorHandleNotFoundError

        raise ActorHandleNotFoundError(f"{actor!r} belongs to a session that has ended.")
    with session.lock:
        session.calling.bar(actor._id)
        session.to_hub(KillActor(actor._id, no_restart, "killed by ray.kill"))
        session.send_out()
