"""What the zygote does before it forks, so that its children share more of its memory."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PRIVATE = """
import gc, importlib, os, sys
from ray_on_dask.runtime import zygote
from ray_on_dask.runtime.beginning import PRELOAD

if "plain" in sys.argv:
    zygote.fill_holes = lambda: None
    PRELOAD = [name for name in PRELOAD if not name.endswith("rehearsal")]
    importlib.import_module("tempfile")
before = sorted(os.listdir("/proc/self/fd"))
zygote.load([*zygote.ALWAYS, *PRELOAD])
assert sorted(os.listdir("/proc/self/fd")) == before, "files are left open"
assert len(os.listdir("/proc/self/task")) == 1, "threads are left"
from ray_on_dask.runtime import current
assert current.process is None
from ray_on_dask.runtime.object_ref import dropped
assert not dropped

import socket, tempfile
from ray_on_dask.runtime.executor import Executor

folder = tempfile.mkdtemp()
server = socket.socket(socket.AF_UNIX)
server.bind(folder + "/hub")
server.listen(1)
if not os.fork():
    gc.enable()
    Executor({"name": "1" * 16, "hub": folder + "/hub", "address": folder + "/x", "node": "",
              "shm": folder, "capacity": 1 << 20, "ip": ""})
    rollup = open("/proc/self/smaps_rollup").read()
    print(int(rollup.partition("Private_Dirty:")[2].split()[0]), flush=True)
    os._exit(0)
os.wait()
"""


def private_kilobytes(*arguments: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", PRIVATE, *arguments],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="needs Linux 4.14")
def test_a_child_has_less_memory_of_its_own_and_the_parent_nothing_left_open() -> None:
    assert private_kilobytes() < 0.9 * private_kilobytes("plain")


def test_a_rehearsal_does_not_end_the_process() -> None:
    from ray_on_dask.runtime import rehearsal

    with pytest.raises(RuntimeError, match="would have ended"):
        rehearsal.Rehearsed.end(None, 1)  # type: ignore[arg-type]
