"""Placement groups: bundles of resources that are reserved together, for tasks and actors.

>>> import ray_on_dask as ray
>>> from ray_on_dask.util.placement_group import placement_group, remove_placement_group
>>> from ray_on_dask.util.scheduling_strategies import PlacementGroupSchedulingStrategy
>>> group = placement_group([{"CPU": 1}, {"CPU": 1}], strategy="PACK")
>>> ray.get(group.ready()) == group
True
>>> remove_placement_group(group)
"""

from __future__ import annotations

from typing import Any

from ray_on_dask.api import session as sessions
from ray_on_dask.core.bundles import STRATEGIES
from ray_on_dask.core.resources import to_units
from ray_on_dask.ids import PlacementGroupID
from ray_on_dask.wire.messages import CreateGroup

#: A bundle, {resource: quantity}.
Bundle = dict[str, float]

__all__ = [
    "PlacementGroup", "get_current_placement_group", "get_placement_group", "placement_group",
    "placement_group_table", "remove_placement_group",
]  # fmt: skip


class PlacementGroup:
    """A handle of a placement group; it may be sent to tasks and actors.

    Made by `placement_group`, `get_placement_group` and `get_current_placement_group`. Groups
    live until `remove_placement_group`, or until their job ends, whoever has handles.
    """

    def __init__(self, id: PlacementGroupID, bundle_cache: list[Bundle] | None = None):
        self.id = id
        self._bundles = bundle_cache

    @staticmethod
    def empty() -> PlacementGroup:
        """The handle of no group: tasks in it run outside of groups."""
        return PlacementGroup(PlacementGroupID.nil(), [])

    @property
    def is_empty(self) -> bool:
        """Whether it is the handle of no group."""
        return self.id.is_nil()

    def ready(self) -> Any:
        """A ref whose value is this handle once all bundles are reserved.

        `get` of it raises `TaskPlacementGroupRemoved` if the group is removed before.
        """
        from ray_on_dask.serialization import serialize, to_bytes

        process = sessions.running_session()
        if process is None:
            from ray_on_dask.api.put import put

            return put(self)
        return process.groups.ready(self.id.binary(), to_bytes(serialize(self)))

    def wait(self, timeout_seconds: float = 30) -> bool:
        """Block until all bundles are reserved; False if they are not after so many seconds.

        Raises
        ------
        RuntimeError
            If the group has been removed.
        """
        process = sessions.running_session()
        if process is None:
            return True
        state = process.groups.wait(self.id.binary(), timeout_seconds)
        if state == "REMOVED":
            raise RuntimeError(f"Placement group {self.id!r} does not exist.")
        return bool(state == "CREATED")

    @property
    def bundle_specs(self) -> list[Bundle]:
        """What each bundle has, {resource: quantity}."""
        if self._bundles is None:
            self._bundles = _ask("placement_group", id=self.id.binary()).get("bundles", [])
        return self._bundles

    @property
    def bundle_count(self) -> int:
        """The number of bundles."""
        return len(self.bundle_specs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PlacementGroup) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"PlacementGroup({self.id.hex()})"

    def __reduce__(self) -> tuple[Any, ...]:
        return PlacementGroup, (self.id, self._bundles)


def placement_group(
    bundles: list[Bundle],
    strategy: str | None = None,
    name: str = "",
    lifetime: str | None = None,
    _soft_target_node_id: str | None = None,
    bundle_label_selector: list[dict[str, str]] | None = None,
    topology_strategy: Any = None,
) -> PlacementGroup:
    """Reserve bundles of resources, all of them or none. Returns at once.

    Parameters
    ----------
    bundles : list of dict
        {resource: quantity}. A bundle lies on one node.
    strategy : str
        ``"PACK"`` (the default: few nodes), ``"SPREAD"`` (many nodes), ``"STRICT_PACK"`` (one
        node), ``"STRICT_SPREAD"`` (a node each).
    name : str
        For `get_placement_group`; unique in the namespace.
    lifetime : str, optional
        ``"detached"``: the group outlives its job.
    _soft_target_node_id : str, optional
        The node to be tried first (``"STRICT_PACK"``).
    bundle_label_selector : list of dict, optional
        For each bundle the labels that its node must have, as the option ``label_selector``.

    Raises
    ------
    ValueError
        For bundles, strategies and lifetimes that cannot be.
    RaySystemError
        If a group in the namespace has that name.
    """
    strategy = strategy or "PACK"
    _check(bundles, strategy, lifetime, _soft_target_node_id)
    if not isinstance(name, str):
        raise TypeError(f"The name of a placement group must be a str, but is {name!r}")
    if topology_strategy:
        raise ValueError("topology_strategy is not supported: name labels by bundle_label_selector")
    selectors = _selectors(bundles, bundle_label_selector)
    process = sessions.running_session()
    specs = [{key: float(value) for key, value in bundle.items()} for bundle in bundles]
    if process is None:
        return PlacementGroup(PlacementGroupID.from_random(), specs)
    units = [{key: to_units(value) for key, value in x.items() if value} for x in specs]
    id = process.groups.new_id()
    process.groups.create(
        CreateGroup(id, units, strategy, name, process.config.namespace, lifetime == "detached",
                    _soft_target_node_id or "", selectors)
    )  # fmt: skip
    if name:
        _check_name(id)
    return PlacementGroup(PlacementGroupID(id), specs)


def _selectors(bundles: list[Bundle], given: Any) -> list[dict[str, list[Any]]]:
    from ray_on_dask.api.option_checks import check_label_selector
    from ray_on_dask.api.strategy import selector_of

    if not given:
        return []
    if not isinstance(given, list) or len(given) != len(bundles):
        raise ValueError(
            f"Invalid bundle_label_selector {given!r}: a list with a dict for each of the "
            f"{len(bundles)} bundles is expected"
        )
    for labels in given:
        if not isinstance(labels, dict):
            raise ValueError(f"Invalid bundle_label_selector: {labels!r} is no dict of labels")
        try:
            check_label_selector("bundle_label_selector", labels)
        except TypeError as error:
            raise ValueError(str(error)) from None
    return [selector_of(labels) for labels in given]


def _check_name(id: bytes) -> None:
    from ray_on_dask.exceptions import RaySystemError

    refused = _ask("placement_group", id=id).get("refused")
    if refused:
        raise RaySystemError(f"The placement group was not created: {refused}.")


def _check(bundles: Any, strategy: str, lifetime: str | None, target: str | None) -> None:
    if not isinstance(bundles, list):
        raise ValueError(f"Placement group bundles must be a list, got {type(bundles)}.")
    if not bundles:
        raise ValueError("Placement group bundles must be a non-empty list, got an empty one.")
    for bundle in bundles:
        _check_bundle(bundle)
    if strategy not in STRATEGIES:
        raise ValueError(
            f"Invalid placement group strategy {strategy}. Supported strategies are: {STRATEGIES}"
        )
    if lifetime not in (None, "detached"):
        raise ValueError(
            f"Placement group `lifetime` argument must be either `None` or 'detached'. Got "
            f"{lifetime}"
        )
    if target and strategy != "STRICT_PACK":
        raise ValueError(f"_soft_target_node_id goes with STRICT_PACK only, not with {strategy}")


def _check_bundle(bundle: Any) -> None:
    if not isinstance(bundle, dict) or not all(
        isinstance(name, str) and isinstance(quantity, int | float)
        for name, quantity in bundle.items()
    ):
        raise ValueError(
            f"A bundle must be a dict of quantities, such as {{'CPU': 1}}, but is {bundle!r}"
        )
    if not any(bundle.values()):
        raise ValueError(f"A bundle cannot be empty, or have zero of everything: {bundle!r}")
    if any(quantity < 0 for quantity in bundle.values()):
        raise ValueError(f"A bundle cannot have less than zero of anything: {bundle!r}")


def remove_placement_group(placement_group: PlacementGroup) -> None:
    """Give a group's bundles back. Returns at once.

    What runs in the group is ended: tasks that wait for it fail with `TaskPlacementGroupRemoved`,
    calls of its actors with `ActorDiedError`. Removing it again does nothing.
    """
    assert isinstance(placement_group, PlacementGroup), placement_group
    process = sessions.running_session()
    if process is not None:
        process.groups.remove(placement_group.id.binary())


def get_placement_group(placement_group_name: str) -> PlacementGroup:
    """The group of that name in this namespace.

    Raises
    ------
    ValueError
        If there is none.
    """
    if not placement_group_name:
        raise ValueError("Please supply a non-empty value to get_placement_group")
    process = sessions.running_session()
    namespace = process.config.namespace if process is not None else ""
    found = _ask("find_placement_group", name=placement_group_name, namespace=namespace)
    if not found:
        raise ValueError(f"Failed to look up placement group with name: {placement_group_name}")
    return PlacementGroup(PlacementGroupID(found["id"]), found["bundles"])


def get_current_placement_group() -> PlacementGroup | None:
    """The group that the calling task or actor is in, None if it is in none, and in a driver."""
    from ray_on_dask.runtime.here import here

    if sessions.running_session() is None:
        return None
    id = here().placement_group
    return PlacementGroup(PlacementGroupID(id)) if id else None


def placement_group_table(placement_group: PlacementGroup | None = None) -> dict[str, Any]:
    """Facts about one group, {} if it is unknown; without an argument, {id: facts} of all.

    Returns
    -------
    dict
        ``placement_group_id``, ``name``, ``bundles``, ``bundles_to_node_id``, ``strategy``,
        ``state`` ("PENDING", "CREATED", "REMOVED", "RESCHEDULING"), ``stats``.
    """
    if placement_group is not None:
        return _as_ray_shows(_ask("placement_group", id=placement_group.id.binary()))
    groups = map(_as_ray_shows, _ask("placement_groups") or [])
    return {group["placement_group_id"]: group for group in groups}


def _as_ray_shows(found: dict[str, Any]) -> dict[str, Any]:
    if not found:
        return {}
    latency = max(0.0, found["placed"] - found["created"]) * 1000 if found["placed"] else 0.0
    nodes = found["nodes"]
    waits = "INFEASIBLE" if found["infeasible"] else "QUEUED"
    return {
        "placement_group_id": found["id"].hex(), "name": found["name"],
        "bundles": dict(enumerate(found["bundles"])),
        "bundles_to_node_id": {i: nodes.get(i, "") for i in range(len(found["bundles"]))},
        "strategy": found["strategy"], "state": found["state"],
        "stats": {
            "end_to_end_creation_latency_ms": latency, "scheduling_latency_ms": latency,
            "scheduling_attempt": 1, "highest_retry_delay_ms": 0.0,
            "scheduling_state": "FINISHED" if found["placed"] else waits,
        },
    }  # fmt: skip


def _ask(what: str, **args: Any) -> Any:
    process = sessions.running_session()
    return process.asking.ask(what, **args) if process is not None else {}
