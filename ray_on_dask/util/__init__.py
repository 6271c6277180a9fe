"""What mirrors `ray.util`, module by module, written against the public API."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ray_on_dask.serialization import deregister_serializer, register_serializer
    from ray_on_dask.util.actor_pool import ActorPool
    from ray_on_dask.util.check_serialize import inspect_serializability
    from ray_on_dask.util.debug import (
        disable_log_once_globally,
        enable_periodic_logging,
        log_once,
    )
    from ray_on_dask.util.iteration import as_completed, map_unordered
    from ray_on_dask.util.node_facts import (
        get_node_instance_id,
        get_node_ip_address,
        list_named_actors,
    )

#: Where each name is defined.
_NAMES = {
    "ActorPool": "util.actor_pool",
    "as_completed": "util.iteration", "map_unordered": "util.iteration",
    "inspect_serializability": "util.check_serialize",
    "register_serializer": "serialization", "deregister_serializer": "serialization",
    "list_named_actors": "util.node_facts", "get_node_ip_address": "util.node_facts",
    "get_node_instance_id": "util.node_facts",
    "log_once": "util.debug", "disable_log_once_globally": "util.debug",
    "enable_periodic_logging": "util.debug",
}  # fmt: skip
_PLACEMENT_GROUPS = (
    "placement_group", "placement_group_table", "get_placement_group",
    "get_current_placement_group", "remove_placement_group",
)  # fmt: skip
_MODULES = (
    "accelerators", "annotations", "dask", "iter", "iter_metrics", "joblib", "metrics",
    "multiprocessing", "queue", "scheduling_strategies", "state",
)  # fmt: skip

__all__ = [
    "ActorPool", "as_completed", "deregister_serializer", "disable_log_once_globally",
    "enable_periodic_logging", "get_node_instance_id", "get_node_ip_address",
    "inspect_serializability", "list_named_actors", "log_once", "map_unordered",
    "register_serializer",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    target = _NAMES.get(name)
    if target is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"ray_on_dask.{target}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *_MODULES, *globals()})


def _load_placement_groups() -> None:
    """A function and its module share a name here, so the function is bound before anyone asks."""
    try:
        module = importlib.import_module(f"{__name__}.placement_group")
    except ModuleNotFoundError:
        return
    globals().update({name: getattr(module, name) for name in _PLACEMENT_GROUPS})


_load_placement_groups()
