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
from ray_on_dask.core.resources import UNITS
from ray_on_dask.plugins import gpus
from ray_on_dask.plugins.gpu_desk import GpuDesk

FAKE = """
NAMES = {names!r}
def nvmlInit(): pass
def nvmlShutdown(): pass
def nvmlDeviceGetCount(): return len(NAMES)
def nvmlDeviceGetHandleByIndex(i): return i
def nvmlDeviceGetName(handle): return NAMES[handle]
def nvmlDeviceGetUUID(handle): return 'GPU-uuid-%d' % handle
"""


def fake(names: list[str | bytes]) -> Any:
    """A `pynvml` that knows GPUs of these names."""
    module = SimpleNamespace()
    exec(FAKE.format(names=names), vars(module))
    return module


@pytest.fixture(autouse=True)
def all_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Tesla V100-SXM2-16GB", "V100"),
        (b"NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "RTX-PRO-6000"),
        ("NVIDIA GeForce RTX 4090", "GeForce-RTX-4090"),
        ("Tesla T4", "T4"),
    ],
)
def test_types_are_named_as_ray_names_them(
    name: str | bytes, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake([name]))
    assert [(gpu.id, gpu.kind) for gpu in gpus.visible()] == [(0, kind)]


@pytest.mark.parametrize(
    ("variable", "ids"),
    [
        ("1, 3", [1, 3]), ("3,1", [3, 1]), ("", []), ("NoDevFiles", []), ("-1", []),
        ("2,-1,0", [2]), ("0,9,1", [0]), ("GPU-uuid-2,0", ["GPU-uuid-2", 0]), ("GPU-none", []),
    ],
)  # fmt: skip
def test_hidden_gpus_are_not_used(
    variable: str, ids: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As CUDA reads it: in that order, and up to the first name that is none."""
    monkeypatch.setitem(sys.modules, "pynvml", fake(["Tesla T4"] * 4))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    assert [gpu.id for gpu in gpus.visible()] == ids


def test_parts_of_a_divided_gpu_are_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    module = fake(["NVIDIA A100-SXM4-40GB"] * 2)
    module.nvmlDeviceGetMigMode = lambda handle: (int(handle == 1), 0)
    module.nvmlDeviceGetMaxMigDeviceCount = lambda handle: 7
    module.nvmlDeviceGetUUID = lambda handle: handle if isinstance(handle, str) else f"GPU-{handle}"

    def part(handle: int, at: int) -> str:
        if at > 1:
            raise OSError("not found")
        return f"MIG-{handle}-{at}"

    module.nvmlDeviceGetMigDeviceHandleByIndex = part
    monkeypatch.setitem(sys.modules, "pynvml", module)
    assert [(x.id, x.kind) for x in gpus.visible()] == [
        (0, "A100"), ("MIG-1-0", "A100"), ("MIG-1-1", "A100"),
    ]  # fmt: skip
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-1-1")
    assert [x.id for x in gpus.visible()] == ["MIG-1-1"]


def test_a_machine_without_a_driver_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise OSError("NVML shared library not found")

    module = fake([])
    module.nvmlInit = broken
    monkeypatch.setitem(sys.modules, "pynvml", module)
    assert gpus.visible() == []


# -- several nodes on one host ---------------------------------------------------------------


def test_workers_of_one_cluster_never_have_a_gpu_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake(["Tesla T4"] * 4))
    first = gpus.claim("tcp://a", 1)
    second = gpus.claim("tcp://a", None)
    third = gpus.claim("tcp://a", None)
    assert (first.ids, second.ids, third.ids) == ([0], [1, 2, 3], [])
    other = gpus.claim("tcp://b", None)
    assert other.ids == [0, 1, 2, 3], "another cluster"
    first.release()
    assert gpus.claim("tcp://a", None).ids == [0]
    assert (second.kinds, third.kinds) == ({"T4"}, set())


def test_a_node_has_what_it_was_told_that_it_has(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake([]))
    assert gpus.claim("tcp://a", 2).ids == [0, 1]
    assert gpus.claim("tcp://a", 0).ids == [] and not caplog.records
    monkeypatch.setitem(sys.modules, "pynvml", fake(["Tesla T4"] * 2))
    taken = gpus.claim("tcp://a", 1)
    assert gpus.claim("tcp://a", 2).ids == [1, 0]
    assert "used twice" in caplog.text and taken.ids == [0]


def test_a_worker_of_dask_cuda_has_the_first_it_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each worker sees all, in an order of its own."""
    monkeypatch.setitem(sys.modules, "pynvml", fake(["Tesla T4"] * 4))
    monkeypatch.setitem(sys.modules, "dask_cuda", SimpleNamespace())
    claims = []
    for order in ("0,1,2,3", "1,2,3,0", "2,3,0,1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", order)
        claims.append(gpus.claim("tcp://a", None))
    assert [claim.ids for claim in claims] == [[0], [1], [2]]


# -- in a session ------------------------------------------------------------------------------


def test_ids_of_a_process_that_ends_with_its_lease_are_free_when_it_is_gone() -> None:
    desk, had = GpuDesk([0]), []
    desk.want(1, UNITS, had.append)
    desk.want(2, UNITS, had.append)
    desk.want(3, UNITS, had.append)
    desk.want(4, 0, had.append)
    assert had == [[0], []]
    desk.keep("x", 1)
    desk.give(2)  # it was withdrawn while it waited
    assert had == [[0], []]
    desk.gone("x")
    assert had == [[0], [], [0]]
    desk.gpus.validate()


def test_the_next_task_on_a_gpu_begins_when_the_last_process_there_has_ended(
    tmp_path: Path,
) -> None:
    last = tmp_path / "last"
    with ray.init(num_cpus=2, num_gpus=1, include_dashboard=False):

        @ray.remote(num_gpus=1)
        def use() -> bool:
            """Whether the process of the task before is still there."""
            before = f"/proc/{last.read_text()}" if last.exists() else "/none"
            last.write_text(str(os.getpid()))
            return os.path.exists(before)

        assert ray.get([use.remote() for _ in range(6)], timeout=60) == [False] * 6


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
