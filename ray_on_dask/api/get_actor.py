"""`get_actor`: a handle of a named actor."""

from __future__ import annotations

from ray_on_dask.api import session as sessions
from ray_on_dask.api.actor_handle import ActorHandle, handle_for


def get_actor(name: str, namespace: str | None = None) -> ActorHandle:
    """A handle of the actor with this name. It does not keep the actor alive.

    Parameters
    ----------
    name : str
    namespace : str, optional
        Default: this session's.

    Raises
    ------
    ValueError
        When there is no such actor.
    """
    if not name:
        raise ValueError("Please supply a non-empty value to get_actor")
    session = sessions.running_session()
    if namespace == "":
        raise ValueError("get_actor(namespace=''): a namespace is not empty; omit it for this one")
    if session is None:
        found = sessions.local_session().get_actor(name, namespace)
    else:
        namespace = namespace or session.config.namespace
        found = session.asking.ask("get_actor", name=name, namespace=namespace)
    if not found:
        raise ValueError(
            f"Failed to look up actor with name '{name}'. This could because 1. You are trying to "
            "look up a named actor you didn't create. 2. The named actor died. 3. You did not use "
            "a namespace matching the namespace of the actor."
        )
    return found if session is None else handle_for(session, found)
