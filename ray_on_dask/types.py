"""Types for annotations."""

from ray_on_dask.runtime.object_ref import ObjectRef

__all__ = ["ObjectRef"]
