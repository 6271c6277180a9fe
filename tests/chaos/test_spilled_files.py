"""What was moved to disk goes with its node, however that ends."""

from __future__ import annotations

import os

import pytest
from chaos_processes import kill, until

pytestmark = pytest.mark.chaos

FULL = """
import glob
import numpy as np
ray.shutdown()
ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, object_store_memory=32 << 20,
         object_spilling_directory=os.environ["SPILLED"])
from ray_on_dask.api.init import _head
refs = [ray.put(np.full(4 << 20, i, np.uint8)) for i in range(20)]
(directory,) = glob.glob(os.environ["SPILLED"] + "/*/*-spill")
ready(directory=directory, files=len(os.listdir(directory)))
time.sleep(100)
"""


@pytest.fixture
def spilled(start_driver, tmp_path, monkeypatch):
    """A driver whose node has objects on disk."""
    monkeypatch.setenv("SPILLED", str(tmp_path))
    driver = start_driver(FULL)
    assert driver.facts["files"] > 5 and os.path.isdir(driver.facts["directory"])
    return driver


@pytest.mark.parametrize("who", ["node", "all"])
def test_a_kill_leaves_no_file(spilled, who, tmp_path):
    session = spilled.session
    processes = session.processes
    if who == "node":
        kill(session.head)
    else:
        kill(*processes)
        from ray_on_dask.runtime.directories import sweep

        until(lambda: sweep(grace=0.0) or not os.path.exists(session.directories[0]), "a sweep")
    session.assert_gone(processes)
    until(lambda: not os.path.exists(spilled.facts["directory"]), "the removal of what was spilled")
    until(lambda: not os.listdir(tmp_path), "the removal of the user's directory there")
