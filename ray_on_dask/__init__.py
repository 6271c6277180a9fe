"""The Ray API, layered over a Dask cluster: ``import ray_on_dask as ray``.

Nothing is imported before it is used: this module alone brings in neither dask nor numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

#: Where each name is defined.
_NAMES = {
    "init": "api.init", "shutdown": "api.init", "is_initialized": "api.init",
    "remote": "api.remote", "get": "api.get", "put": "api.put", "wait": "api.wait",
    "cancel": "api.cancel", "kill": "api.kill", "method": "api.method",
    "get_actor": "api.get_actor", "get_gpu_ids": "api.get_gpu_ids",
    "nodes": "api.cluster_state", "cluster_resources": "api.cluster_state",
    "available_resources": "api.cluster_state", "timeline": "api.timeline",
    "error_info": "api.error_info", "errors": "api.error_info",
    "get_runtime_context": "api.runtime_context",
    "visualize_computation_graph": "api.visualize",
    "register_serializer": "serialization", "deregister_serializer": "serialization",
    "SCRIPT_MODE": "api.modes", "WORKER_MODE": "api.modes", "PYTHON_MODE": "api.modes",
    "LOCAL_MODE": "api.modes", "SILENT_MODE": "api.modes",
    "ObjectRef": "runtime.object_ref", "ObjectRefGenerator": "runtime.streams",
    "DynamicObjectRefGenerator": "runtime.streams",
    "ActorID": "ids", "ActorClassID": "ids", "FunctionID": "ids", "JobID": "ids", "NodeID": "ids",
    "PlacementGroupID": "ids", "TaskID": "ids", "UniqueID": "ids", "WorkerID": "ids",
    "LoggingConfig": "logging_config",
    "client": "client_builder", "ClientBuilder": "client_builder",
}  # fmt: skip
#: Submodules that can be used without an import of their own, as in Ray.
_MODULES = (
    "actor", "autoscaler", "exceptions", "internal", "remote_function", "util", "test_utils",
    "types",
)  # fmt: skip

__all__ = [*_NAMES, "ObjectID", "__version__"]

if TYPE_CHECKING:
    from ray_on_dask import (
        actor as actor,
        exceptions as exceptions,
        util as util,
    )
    from ray_on_dask.api.cancel import cancel as cancel
    from ray_on_dask.api.cluster_state import (
        available_resources as available_resources,
        cluster_resources as cluster_resources,
        nodes as nodes,
    )
    from ray_on_dask.api.error_info import (
        error_info as error_info,
        errors as errors,
    )
    from ray_on_dask.api.get import get as get
    from ray_on_dask.api.get_actor import get_actor as get_actor
    from ray_on_dask.api.get_gpu_ids import get_gpu_ids as get_gpu_ids
    from ray_on_dask.api.init import (
        init as init,
        is_initialized as is_initialized,
        shutdown as shutdown,
    )
    from ray_on_dask.api.kill import kill as kill
    from ray_on_dask.api.method import method as method
    from ray_on_dask.api.modes import (
        LOCAL_MODE as LOCAL_MODE,
        PYTHON_MODE as PYTHON_MODE,
        SCRIPT_MODE as SCRIPT_MODE,
        SILENT_MODE as SILENT_MODE,
        WORKER_MODE as WORKER_MODE,
    )
    from ray_on_dask.api.put import put as put
    from ray_on_dask.api.remote import remote as remote
    from ray_on_dask.api.runtime_context import get_runtime_context as get_runtime_context
    from ray_on_dask.api.timeline import timeline as timeline
    from ray_on_dask.api.visualize import (
        visualize_computation_graph as visualize_computation_graph,
    )
    from ray_on_dask.api.wait import wait as wait
    from ray_on_dask.client_builder import ClientBuilder as ClientBuilder, client as client
    from ray_on_dask.ids import (
        ActorClassID as ActorClassID,
        ActorID as ActorID,
        FunctionID as FunctionID,
        JobID as JobID,
        NodeID as NodeID,
        PlacementGroupID as PlacementGroupID,
        TaskID as TaskID,
        UniqueID as UniqueID,
        WorkerID as WorkerID,
    )
    from ray_on_dask.runtime.object_ref import ObjectRef as ObjectID, ObjectRef as ObjectRef
    from ray_on_dask.runtime.streams import (
        DynamicObjectRefGenerator as DynamicObjectRefGenerator,
        ObjectRefGenerator as ObjectRefGenerator,
    )
    from ray_on_dask.serialization import (
        deregister_serializer as deregister_serializer,
        register_serializer as register_serializer,
    )


def __getattr__(name: str) -> Any:
    if name == "ObjectID":
        name, target = "ObjectRef", "runtime.object_ref"
    elif name in _MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    else:
        found = _NAMES.get(name)
        if found is None:
            raise AttributeError(f"module 'ray_on_dask' has no attribute {name!r}")
        target = found
    value = getattr(importlib.import_module(f"{__name__}.{target}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *_MODULES, *(name for name in globals() if name.startswith("__"))})
