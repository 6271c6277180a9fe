"""What options ask of a node: quantities by resource, in ten-thousandths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, overload

from ray_on_dask.api.option_checks import UNITS_PER_ONE, to_units

#: `{resource: ten-thousandths}`; no entry is 0.
Demand = dict[str, int]
#: What a task or actor takes of `accelerator_type:<T>`: enough to be placed there.
_ACCELERATOR_UNITS = UNITS_PER_ONE // 1000


@overload
def resources_of(options: Mapping[str, Any], kind: Literal["task"] = "task") -> Demand:
    """Of a task."""


@overload
def resources_of(options: Mapping[str, Any], kind: Literal["actor"]) -> tuple[Demand, Demand]:
    """Of an actor: to be placed, and to live."""


def resources_of(
    options: Mapping[str, Any], kind: Literal["task", "actor"] = "task"
) -> Demand | tuple[Demand, Demand]:
    """The resources that a task or an actor takes.

    A task takes one CPU unless told otherwise. An actor that names neither
    CPUs, GPUs, custom resources nor an accelerator holds no CPU, but is
    placed only where a CPU *exists*, free or not; one that names any of them
    holds one CPU for life unless told otherwise.

    Parameters
    ----------
    options : mapping
        Validated and merged.
    kind : str
        `"task"` or `"actor"`.

    Returns
    -------
    dict, or two dicts for an actor
        `{"CPU": 10000, ...}`. For an actor: what the node must have in all,
        and what the actor holds while it lives. Bytes of memory count as
        ten-thousandths too: 1 byte is 10,000 units.
    """
    if kind == "task":
        return _demand(options, default_cpus=1)
    if _names_resources(options):
        held = _demand(options, default_cpus=1)
        return dict(held), held
    held = _demand(options, default_cpus=0)
    return {"CPU": UNITS_PER_ONE, **held}, held


def _names_resources(options: Mapping[str, Any]) -> bool:
    named = ("num_cpus", "num_gpus", "accelerator_type")
    return any(options.get(name) is not None for name in named) or bool(options.get("resources"))


def _demand(options: Mapping[str, Any], default_cpus: int) -> Demand:
    cpus = options.get("num_cpus")
    demand = {
        "CPU": to_units(default_cpus if cpus is None else cpus),
        "GPU": to_units(options.get("num_gpus") or 0),
        "memory": int(options.get("memory") or 0) * UNITS_PER_ONE,
        "object_store_memory": int(options.get("object_store_memory") or 0) * UNITS_PER_ONE,
    }
    for name, quantity in (options.get("resources") or {}).items():
        demand[name] = to_units(quantity)
    if options.get("accelerator_type"):
        demand[f"accelerator_type:{options['accelerator_type']}"] = _ACCELERATOR_UNITS
    return {name: units for name, units in demand.items() if units}


def check_resources_at_call(options: Mapping[str, Any]) -> None:
    """Refuse resources that no node could hand out.

    Raises
    ------
    ValueError
        For more than one GPU that is not a whole number, and for memory
        among the custom resources.
    TypeError
        For a custom resource whose name is no str.
    """
    gpus = options.get("num_gpus") or 0
    if gpus > 1 and gpus != int(gpus):
        raise ValueError(f"More than one GPU must be a whole number of them, but is {gpus}")
    for name in options.get("resources") or {}:
        if name in ("memory", "object_store_memory"):
            raise ValueError(f"Give {name} as an option, not in resources")
        if not isinstance(name, str):
            raise TypeError(f"The name of a resource must be a str, but is {name!r}")
