"""The script for real GPUs, with imagined ones: memory is lines in a file, by process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

NVML = """
def nvmlInit(): pass
def nvmlShutdown(): pass
def nvmlDeviceGetCount(): return COUNT
def nvmlDeviceGetHandleByIndex(i): return i
def nvmlDeviceGetName(handle): return "NVIDIA H100 80GB HBM3"
def nvmlDeviceGetUUID(handle): return f"GPU-{handle}"
"""

DRIVER = '''
import os
FOLDER = os.path.dirname(__file__)

class Gpu:
    """A GPU whose memory is what living processes have noted in a file."""
    def begin(self):
        self.index = os.environ["CUDA_VISIBLE_DEVICES"].split(",")[0]
        self.path = os.path.join(FOLDER, f"gpu-{self.index}")
    def uuid(self):
        return f"uuid-{WRONG or self.index}"
    def allocate(self, nbytes):
        with open(self.path, "a") as file:
            file.write(f"{os.getpid()} {nbytes}\\n")
    def free(self):
        lines = open(self.path).read().split("\\n")[:-1] if os.path.exists(self.path) else []
        pairs = [line.split() for line in lines]
        used = sum(int(n) for pid, n in pairs if os.path.exists(f"/proc/{pid}"))
        return (80 << 30) - used
'''


def run(folder: Path, count: int, wrong: str = "") -> tuple[int, str]:
    (folder / "pynvml.py").write_text(NVML.replace("COUNT", str(count)))
    (folder / "imagined.py").write_text(f"WRONG = {wrong!r}\n{DRIVER}")
    variables = {
        "PYTHONPATH": f"{folder}:{ROOT}", "GPU_CHECK_DRIVER": "imagined:Gpu",
        "DASK_DISTRIBUTED__DIAGNOSTICS__NVML": "False",
    }  # fmt: skip
    environment = {x: y for x, y in os.environ.items() if x != "CUDA_VISIBLE_DEVICES"}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu_check"], capture_output=True, text=True, timeout=100,
        env={**environment, **variables}, cwd=ROOT,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.mark.timeout(110)
def test_all_is_well_on_two_gpus(tmp_path: Path) -> None:
    code, text = run(tmp_path, 2)
    assert code == 0, text
    assert [line.split()[:2] for line in text.splitlines()[:3]] == [
        ["ids", "ok"], ["halves", "ok"], ["freed", "ok"],
    ]  # fmt: skip


def test_ids_that_are_all_the_same_gpu_are_noticed(tmp_path: Path) -> None:
    code, text = run(tmp_path, 2, wrong="same")
    assert code == 1 and "ids      FAILED" in text, text


def test_a_machine_without_a_gpu_is_told_from_one_that_fails(tmp_path: Path) -> None:
    code, text = run(tmp_path, 0)
    assert code == 2 and "no GPU" in text, text
