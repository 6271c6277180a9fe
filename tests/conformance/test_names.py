"""The names there are, and how the exceptions descend from each other."""

from __future__ import annotations

import pytest
from conformance_module import exceptions, import_submodule, ray

_NAMES = """
__version__ get_runtime_context available_resources cancel cluster_resources get get_actor
get_gpu_ids init is_initialized kill method nodes put remote shutdown timeline wait SCRIPT_MODE
WORKER_MODE LoggingConfig actor util client ClientBuilder
ActorClassID ActorID NodeID JobID WorkerID FunctionID ObjectID ObjectRef ObjectRefGenerator
DynamicObjectRefGenerator TaskID UniqueID PlacementGroupID
"""

_SUBMODULES = """
exceptions actor remote_function util util.queue util.placement_group util.scheduling_strategies
util.accelerators util.metrics util.state util.multiprocessing runtime_env cluster_utils
job_config cloudpickle types
"""

#: {exception: its bases}
TREE = {
    "RayError": "Exception",
    "RayTaskError": "RayError",
    "TaskCancelledError": "RayError",
    "WorkerCrashedError": "RayError",
    "RayActorError": "RayError",
    "ActorDiedError": "RayActorError",
    "ActorUnavailableError": "RayActorError",
    "ActorUnschedulableError": "RayError",
    "TaskUnschedulableError": "RayError",
    "ActorPlacementGroupRemoved": "RayError",
    "TaskPlacementGroupRemoved": "RayError",
    "GetTimeoutError": "RayError TimeoutError",
    "ObjectLostError": "RayError",
    "ObjectFetchTimedOutError": "ObjectLostError",
    "ObjectFreedError": "ObjectLostError",
    "ObjectReconstructionFailedError": "ObjectLostError",
    "OwnerDiedError": "ObjectLostError",
    "ReferenceCountingAssertionError": "ObjectLostError AssertionError",
    "ObjectStoreFullError": "RayError",
    "OutOfDiskError": "RayError",
    "OutOfMemoryError": "RayError",
    "NodeDiedError": "RayError",
    "LocalRayletDiedError": "RayError",
    "RaySystemError": "RayError",
    "RuntimeEnvSetupError": "RayError",
    "PendingCallsLimitExceeded": "RayError",
    "AsyncioActorExit": "RayError",
    "UnserializableException": "RayError",
    "CrossLanguageError": "RayError",
    "RpcError": "RayError",
    "ActorAlreadyExistsError": "ValueError RayError",
    "ActorHandleNotFoundError": "ValueError RayError",
}


@pytest.mark.parametrize("name", _NAMES.split())
def test_the_module_has_the_name(name: str) -> None:
    assert hasattr(ray, name)


@pytest.mark.parametrize("name", _SUBMODULES.split())
def test_the_submodule_can_be_imported(name: str) -> None:
    import_submodule(name)


@pytest.mark.parametrize("name", TREE)
def test_the_exception_descends_from_its_bases(name: str) -> None:
    kind = getattr(exceptions, name)
    assert {base.__name__ for base in kind.__mro__} >= set(TREE[name].split())


def test_modes_are_numbers() -> None:
    assert (ray.SCRIPT_MODE, ray.WORKER_MODE) == (0, 1)


def test_actor_names_are_in_the_actor_module() -> None:
    for name in ("ActorClass", "ActorHandle", "ActorMethod", "exit_actor"):
        assert hasattr(ray.actor, name)
    assert issubclass(ray.actor.ActorClassInheritanceException, TypeError)


def test_accelerator_types_have_their_names() -> None:
    accelerators = import_submodule("util.accelerators")
    assert accelerators.NVIDIA_TESLA_V100 == "V100"
    assert accelerators.NVIDIA_TESLA_A10G == "A10G"
    assert accelerators.NVIDIA_H100 == "H100"
