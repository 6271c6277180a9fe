"""`client()`: an older way to begin a session, in several calls; `init` does the same in one."""

from __future__ import annotations

from typing import Any

from ray_on_dask.api.context import RayContext


class ClientBuilder:
    """Gathers what `init` is to be given.

    Parameters
    ----------
    address : str, optional
        As in `init`; ``"local"`` for a new cluster.

    Examples
    --------
    >>> import ray_on_dask as ray
    >>> with ray.client("local").namespace("mine").connect():
    ...     ray.get(ray.put(1))
    1
    """

    def __init__(self, address: str | None = None):
        self.address = address
        self._options: dict[str, Any] = {}
        self._context: RayContext | None = None

    def namespace(self, namespace: str) -> ClientBuilder:
        """The namespace in which names of actors are looked up."""
        self._options["namespace"] = namespace
        return self

    def env(self, env: dict[str, Any]) -> ClientBuilder:
        """The runtime environment of the session's tasks and actors."""
        self._options["runtime_env"] = env
        return self

    def connect(self) -> RayContext:
        """Begin the session; its context, with which it can be ended. Raises as `init` does."""
        from ray_on_dask.api.init import init

        self._context = init(self.address, **self._options)
        return self._context

    def disconnect(self) -> None:
        """End the session that `connect` has begun, if there is one."""
        context, self._context = self._context, None
        if context is not None:
            context.disconnect()


def client(address: str | None = None, _deprecation_warn_enabled: bool = True) -> ClientBuilder:
    """A builder for a session at an address: `ClientBuilder`."""
    return ClientBuilder(address)
