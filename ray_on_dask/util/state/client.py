"""`StateApiClient`: the same questions by the name of what is asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ray_on_dask.util import state
from ray_on_dask.util.state.listing import Filter, RayStateApiException

#: What can be listed: {name in the command line: name in functions}.
RESOURCES = {
    "actors": "actors", "jobs": "jobs", "nodes": "nodes", "objects": "objects", "tasks": "tasks",
    "placement-groups": "placement_groups", "workers": "workers", "runtime-envs": "runtime_envs",
    "cluster-events": "cluster_events",
}  # fmt: skip
#: Of which single ones can be had.
SINGLE = {
    "actors": "actor", "jobs": "job", "nodes": "node", "objects": "objects", "tasks": "task",
    "placement-groups": "placement_group", "workers": "worker",
}  # fmt: skip
#: Which can be summed up.
SUMMARIES = ("actors", "objects", "tasks")


class StateApiClient:
    """Asks the session of the calling process.

    Parameters
    ----------
    address : str, optional
        Accepted and of no effect: join a cluster by `init(address=…)`.

    Examples
    --------
    >>> from ray_on_dask.util.state import StateApiClient
    >>> nodes = StateApiClient().list("nodes")
    """

    def __init__(
        self, address: str | None = None, cookies: Any = None, headers: Any = None
    ) -> None:
        self.address = address

    def list(
        self, resource: Any, options: Any = None, raise_on_missing_output: bool = True,
        _explain: bool = False, *, filters: Iterable[Filter] | None = None, limit: int = 100,
        timeout: float = 30, detail: bool = False,
    ) -> list[Any]:  # fmt: skip
        """All of one kind: ``"actors"``, ``"placement-groups"``, …."""
        if options is not None:
            filters, limit = options.filters, options.limit
            timeout, detail = options.timeout, options.detail
        function = getattr(state, f"list_{_named(resource, RESOURCES)}")
        found: list[Any] = function(filters=filters, limit=limit, timeout=timeout, detail=detail)
        return found

    def get(
        self, resource: Any, id: str, options: Any = None, _explain: bool = False, *,
        timeout: float = 30,
    ) -> Any:  # fmt: skip
        """One by its id, None if there is none; of objects a list."""
        timeout = options.timeout if options is not None else timeout
        return getattr(state, f"get_{_named(resource, SINGLE)}")(id, timeout=timeout)

    def summary(
        self, resource: Any, *, options: Any = None, raise_on_missing_output: bool = True,
        _explain: bool = False, timeout: float = 30,
    ) -> dict[str, Any]:  # fmt: skip
        """Numbers of ``"actors"``, ``"tasks"`` or ``"objects"`` by name and state."""
        timeout = options.timeout if options is not None else timeout
        name = _named(resource, {name: name for name in SUMMARIES})
        found: dict[str, Any] = getattr(state, f"summarize_{name}")(timeout=timeout)
        return found


def _named(resource: Any, known: dict[str, str]) -> str:
    text = str(getattr(resource, "value", resource)).replace("_", "-")
    if text not in known:
        raise RayStateApiException(f"{resource!r} is none of {', '.join(known)}")
    return known[text]
