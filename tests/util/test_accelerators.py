"""Types of accelerators."""

from __future__ import annotations

from typing import Any

import pytest

from ray_on_dask import accelerators as as_documented
from ray_on_dask.util import accelerators


def test_both_import_paths_have_the_same_constants() -> None:
    assert accelerators.NVIDIA_TESLA_V100 == as_documented.NVIDIA_TESLA_V100 == "V100"
    assert accelerators.__all__
    for name in accelerators.__all__:
        assert isinstance(getattr(as_documented, name), str)


def test_the_old_name_of_the_a100_warns() -> None:
    with pytest.warns(DeprecationWarning):
        assert accelerators.NVIDIA_TESLA_A100 == "A100"
    with pytest.raises(AttributeError):
        _ = accelerators.NVIDIA_TESLA_X


def test_a_task_runs_where_its_accelerator_is(ray: Any) -> None:
    ray.shutdown()
    ray.init(num_cpus=1, resources={"accelerator_type:V100": 1}, include_dashboard=False)

    @ray.remote(accelerator_type=accelerators.NVIDIA_TESLA_V100)
    def assigned() -> dict[str, float]:
        return ray.get_runtime_context().get_assigned_resources()  # type: ignore[no-any-return]

    assert ray.get(assigned.remote()) == {"CPU": 1.0, "accelerator_type:V100": 0.001}
