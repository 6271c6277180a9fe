"""GPUs without a GPU: detection by a fake `pynvml`, ids and variables in a session that is told."""

from __future__ import annotations

import os
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import ray_on_dask as ray
from ray_on_dask.plugins import detect

FAKE = """
NAMES = {names!r}
def nvmlInit(): pass
def nvmlShutdown(): pass
def nvmlDeviceGetCount(): return len(NAMES)
def nvmlDeviceGetHandleByIndex(i): return i
def nvmlDeviceGetName(handle): return NAMES[handle]
"""


def fake(names: list[str | bytes]) -> Any:
    """A `pynvml` that knows GPUs of these names."""
    module = SimpleNamespace()
    exec(FAKE.format(names=names), vars(module))
    return module


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Tesla V100-SXM2-16GB", "V100"),
        (b"NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA GeForce RTX 4090", "RTX"),
        ("Tesla T4", "T4"),
    ],
)
def test_types_are_named_as_ray_names_them(
    name: str | bytes, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake([name]))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert detect.gpus() == [(0, kind)]


def test_hidden_gpus_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake(["Tesla T4"] * 4))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1, 3")
    assert [id for id, _ in detect.gpus()] == [1, 3]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert detect.gpus() == []


def test_a_machine_without_a_driver_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise OSError("NVML shared library not found")

    module = fake([])
    module.nvmlInit = broken
    monkeypatch.setitem(sys.modules, "pynvml", module)
    assert detect.gpus() == []


def test_a_session_finds_the_gpus_of_its_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head detects them: it finds the fake library first on the driver's module path."""
    names = ["Tesla V100-SXM2-16GB"] * 2
    (tmp_path / "pynvml.py").write_text(textwrap.dedent(FAKE.format(names=names)))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("DASK_DISTRIBUTED__DIAGNOSTICS__NVML", "False")  # Dask asks it for more
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with ray.init(num_cpus=2, include_dashboard=False):
        resources = ray.cluster_resources()
        assert resources["GPU"] == 2.0
        assert resources["accelerator_type:V100"] == 1.0

        @ray.remote(num_gpus=1, accelerator_type="V100")
        def where() -> tuple[list[int], str | None]:
            return ray.get_gpu_ids(), os.environ.get("CUDA_VISIBLE_DEVICES")

        ids, visible = ray.get(where.remote(), timeout=30)
        assert ids in ([0], [1]) and visible == str(ids[0])


def test_whole_and_half_gpus_are_handed_out_by_id() -> None:
    with ray.init(num_cpus=4, num_gpus=2, include_dashboard=False):

        @ray.remote(num_cpus=0, num_gpus=0.5)
        class Half:
            def ids(self) -> list[int]:
                return ray.get_gpu_ids()

            def visible(self) -> str | None:
                return os.environ.get("CUDA_VISIBLE_DEVICES")

        actors = [Half.remote() for _ in range(4)]
        ids = sorted(ray.get([actor.ids.remote() for actor in actors], timeout=30))
        assert ids == [[0], [0], [1], [1]]
        assert sorted(ray.get([actor.visible.remote() for actor in actors])) == ["0", "0", "1", "1"]
        assert "GPU" not in ray.available_resources()


def test_a_task_without_a_gpu_leaves_the_variable_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    with ray.init(num_cpus=1, num_gpus=1, include_dashboard=False):

        @ray.remote
        def plain() -> tuple[list[int], str | None]:
            return ray.get_gpu_ids(), os.environ.get("CUDA_VISIBLE_DEVICES")

        assert ray.get(plain.remote(), timeout=30) == ([], "7")


def test_the_executor_of_a_gpu_task_ends_with_it() -> None:
    """So that the memory that it has taken on the GPU is free: `max_calls` is 1 by default."""
    with ray.init(num_cpus=1, num_gpus=1, include_dashboard=False):

        @ray.remote(num_gpus=1)
        def pid() -> int:
            return os.getpid()

        assert len({ray.get(pid.remote(), timeout=30) for _ in range(3)}) == 3
