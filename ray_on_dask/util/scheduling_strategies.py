"""Where tasks and actors go: values of the option ``scheduling_strategy``.

What the control store gets is a JSON object: `node_id` with `soft`, `spill` and `fail`, or `hard`,
`soft` and `fallback` labels as ``{key: [operator, values]}``; `core/policy.py` reads it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ray_on_dask.ids import NodeID

#: Units of its group's own resource that a task takes which needs nothing else of a bundle.
_MARK = 10


class NodeAffinitySchedulingStrategy:
    """Run on one node.

    Parameters
    ----------
    node_id : str
        As `get_runtime_context().get_node_id()` and `nodes()` give it.
    soft : bool
        Whether another node will do when this one is gone, or could never have it.
    _spill_on_unavailable : bool
        Whether another one will do as well while this one has no room (with ``soft=True``).
    _fail_on_unavailable : bool
        Fail, rather than wait, while it has no room (with ``soft=False``): tasks with
        `TaskUnschedulableError`, actors with `ActorUnschedulableError`.

    Raises
    ------
    ValueError
        For an id that is none, and for flags that contradict each other.
    """

    def __init__(
        self, node_id: str, soft: bool, _spill_on_unavailable: bool = False,
        _fail_on_unavailable: bool = False,
    ):  # fmt: skip
        self.node_id = _node_id(node_id)
        self.soft = soft
        self._spill_on_unavailable = _spill_on_unavailable
        self._fail_on_unavailable = _fail_on_unavailable
        if _spill_on_unavailable and not soft:
            raise ValueError("_spill_on_unavailable=True goes with soft=True only")
        if _fail_on_unavailable and soft:
            raise ValueError("_fail_on_unavailable=True goes with soft=False only")

    def _as_class(self, resources: dict[str, int]) -> tuple[str, bytes, bool]:
        strategy: dict[str, Any] = {"node_id": self.node_id, "soft": bool(self.soft)}
        if self._spill_on_unavailable:
            strategy["spill"] = True
        if self._fail_on_unavailable:
            strategy["fail"] = True
        return _json(strategy), b"", False


def _node_id(given: Any) -> str:
    digits: str = given if isinstance(given, str) else given.hex()
    try:
        NodeID.from_hex(digits)
    except ValueError:
        raise ValueError(
            f"Invalid node_id {digits!r}. Node ID must be a valid hex string, of "
            f"{2 * NodeID.size()} digits; ray.nodes() tells all of them."
        ) from None
    return digits


# -- labels --------------------------------------------------------------------------------


class _OneOf:
    """An operator with values."""

    operator = ""

    def __init__(self, *values: str):
        name = type(self).__name__
        if not values:
            raise ValueError(f'{name}() needs one value or more, such as {name}("a", "b")')
        for value in values:
            if not isinstance(value, str):
                raise ValueError(f"Values of {name} must be str, but {value!r} is {type(value)}")
        self.values = list(values)


class In(_OneOf):
    """The label is there and has one of these values."""

    operator = "in"


class NotIn(_OneOf):
    """The label is not there, or has none of these values."""

    operator = "not_in"


class Exists:
    """The label is there."""

    operator = "exists"
    values: list[str] = []


class DoesNotExist:
    """The label is not there."""

    operator = "absent"
    values: list[str] = []


_OPERATORS = (In, NotIn, Exists, DoesNotExist)


class NodeLabelSchedulingStrategy:
    """Run on nodes with certain labels.

    Parameters
    ----------
    hard : dict
        {label: `In`, `NotIn`, `Exists` or `DoesNotExist`}: what a node must have.
    soft : dict, optional
        What is preferred among those.

    Raises
    ------
    ValueError
        If both are empty, or are no such dicts.

    Examples
    --------
    >>> from ray_on_dask.util.scheduling_strategies import In, NodeLabelSchedulingStrategy
    >>> strategy = NodeLabelSchedulingStrategy({"zone": In("a", "b")})
    """

    def __init__(self, hard: Mapping[str, Any], *, soft: Mapping[str, Any] | None = None):
        self.hard = _expressions(hard, "hard")
        self.soft = _expressions(soft, "soft")
        if not hard and not soft:
            raise ValueError("NodeLabelSchedulingStrategy: hard and soft cannot both be empty.")

    def _as_class(self, resources: dict[str, int]) -> tuple[str, bytes, bool]:
        return _json({"hard": self.hard, "soft": self.soft}), b"", False


def _expressions(given: Any, which: str) -> dict[str, list[Any]]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ValueError(f'{which} must be a dict, such as {{"key": In("a")}}, not {type(given)}')
    for key, operator in given.items():
        if not isinstance(key, str):
            raise ValueError(f"Keys of {which} must be str, but {key!r} is {type(key)}")
        if not isinstance(operator, _OPERATORS):
            raise ValueError(
                f"{which}[{key!r}] must be In, NotIn, Exists or DoesNotExist, but is {operator!r}"
            )
    return {key: [operator.operator, operator.values] for key, operator in given.items()}


# -- placement groups -------------------------------------------------------------------------


class PlacementGroupSchedulingStrategy:
    """Run within a placement group.

    Parameters
    ----------
    placement_group : PlacementGroup
    placement_group_bundle_index : int
        Which of its bundles; -1 for any.
    placement_group_capture_child_tasks : bool, optional
        Whether what the task launches goes into the group as well.
    """

    def __init__(
        self,
        placement_group: Any,
        placement_group_bundle_index: int = -1,
        placement_group_capture_child_tasks: bool | None = None,
    ):
        self.placement_group = placement_group
        self.placement_group_bundle_index = placement_group_bundle_index
        self.placement_group_capture_child_tasks = placement_group_capture_child_tasks

    def _as_class(self, resources: dict[str, int]) -> tuple[str, bytes, bool]:
        """`resources` becomes the group's: `CPU_group_<id>`, and `CPU_group_<bundle>_<id>`."""
        group = self.placement_group
        if group is None or group.is_empty:
            return "DEFAULT", b"", False
        self._check(resources)
        id = group.id.hex()
        wanted = {name: units for name, units in resources.items() if units} or {"bundle": _MARK}
        resources.clear()
        for name, units in wanted.items():
            resources[f"{name}_group_{id}"] = units
            if self.placement_group_bundle_index >= 0:
                resources[f"{name}_group_{self.placement_group_bundle_index}_{id}"] = units
        return "DEFAULT", group.id.binary(), bool(self.placement_group_capture_child_tasks)

    def _check(self, resources: Mapping[str, int]) -> None:
        """Raise `ValueError` for a bundle that is none, and for more than any bundle has."""
        from ray_on_dask.core.resources import to_units

        index, bundles = self.placement_group_bundle_index, self.placement_group.bundle_specs
        if not -1 <= index < len(bundles):
            raise ValueError(
                f"placement group bundle index {index} is invalid: the group has "
                f"{len(bundles)} bundles, and -1 stands for any"
            )
        for bundle in bundles if index < 0 else [bundles[index]]:
            if all(units <= to_units(bundle.get(name, 0)) for name, units in resources.items()):
                return
        raise ValueError(
            f"The resources {dict(resources)} (in 1/10,000) fit into no bundle of the placement "
            f"group that may be used: {bundles}"
        )


def _json(strategy: dict[str, Any]) -> str:
    return json.dumps(strategy, sort_keys=True)
