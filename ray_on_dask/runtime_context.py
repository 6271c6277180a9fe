"""What code can know of where it runs, under Ray's name of the module."""

from __future__ import annotations

from ray_on_dask.api.runtime_context import RuntimeContext, get_runtime_context

__all__ = ["RuntimeContext", "get_runtime_context"]
