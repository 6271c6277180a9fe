"""What Ray has under `ray.experimental`, as far as it is here."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ray_on_dask.experimental.locations import (
        get_local_object_locations as get_local_object_locations,
        get_object_locations as get_object_locations,
    )

__all__ = ["get_local_object_locations", "get_object_locations"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module(f"{__name__}.locations"), name)
    if name == "tqdm_ray":
        return importlib.import_module(f"{__name__}.tqdm_ray")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
