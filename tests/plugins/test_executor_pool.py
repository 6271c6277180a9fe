"""Executors that come up when nobody is there any more who needs them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ray_on_dask.plugins.executor_pool import ExecutorPool
from ray_on_dask.wire import messages as m


class Node:
    """A node, as a pool of executors sees it."""

    def __init__(self) -> None:
        self.name, self.hub_path, self.capacity, self.ip = "node", "/hub", 0, ""
        self.cpus, self.closing = 1, False
        self.directories = SimpleNamespace(session_dir="/session", shm_dir="/shm")
        self.forked: list[str] = []
        self.killed: list[int] = []
        self.zygote = SimpleNamespace(
            fork=lambda name, params: self.forked.append(name), kill=self.killed.append
        )

    def now(self) -> float:
        return 0.0

    def up(self, sender: str, message: Any) -> None:
        pass


@pytest.mark.parametrize("ended", [True, False], ids=["gone", "there"])
def test_an_executor_that_comes_up_after_its_driver_has_gone_is_ended(ended: bool) -> None:
    node: Any = Node()
    pool = ExecutorPool(node, [])
    spec = m.SchedulingClass({})
    pool.lease(m.StartLease(1, "owner", 5, m.JobConfig(), spec, 1))
    (name,) = node.forked
    if ended:
        pool.end_job(5)

    line: Any = SimpleNamespace(send=lambda message: None)
    pool.on_hello(line, m.Hello(name, "executor", 4321))

    assert node.killed == ([4321] if ended else [])
