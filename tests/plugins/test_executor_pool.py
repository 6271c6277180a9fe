"""Executors that come up when nobody is there any more who needs them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ray_on_dask.plugins.executor_pool import TRIES, ExecutorPool
from ray_on_dask.wire import messages as m


class Node:
    """A node, as a pool of executors sees it."""

    def __init__(self) -> None:
        self.name, self.hub_path, self.capacity, self.ip = "node", "/hub", 0, ""
        self.cpus, self.closing = 1, False
        self.directories = SimpleNamespace(session_dir="/session", shm_dir="/shm")
        self.forked: list[str] = []
        self.killed: list[int] = []
        self.told: list[Any] = []
        self.zygote = SimpleNamespace(fork=self.fork, spawn=self.fork, kill=self.killed.append)
        self.store = SimpleNamespace(process_gone=lambda name, pid: None)
        self.too_long = False

    def fork(self, name: str, *_: Any, **__: Any) -> None:
        if self.too_long:
            raise ValueError("a request of 200 bytes is too long")
        self.forked.append(name)

    def now(self) -> float:
        return 0.0

    def up(self, sender: str, message: Any) -> None:
        self.told.append(message)

    def problems(self) -> list[str]:
        """Why leases could not be served."""
        return [x.error for x in self.told if isinstance(x, m.LeaseStarted)]


def lease(runtime_env: str = "") -> m.StartLease:
    spec = m.SchedulingClass({}, runtime_env=runtime_env)
    return m.StartLease(1, "owner", 5, m.JobConfig(), spec, 1)


@pytest.mark.parametrize("ended", [True, False], ids=["gone", "there"])
def test_an_executor_that_comes_up_after_its_driver_has_gone_is_ended(ended: bool) -> None:
    node: Any = Node()
    pool = ExecutorPool(node, [])
    pool.lease(lease())
    (name,) = node.forked
    if ended:
        pool.end_job(5)

    line: Any = SimpleNamespace(send=lambda message: None)
    pool.on_hello(line, m.Hello(name, "executor", 4321))

    assert node.killed == ([4321] if ended else [])


@pytest.mark.parametrize("runtime_env", ["", '{"env_vars": {"A": "a"}}'], ids=["fork", "fresh"])
def test_a_lease_is_given_up_for_which_no_executor_comes_up(runtime_env: str) -> None:
    node: Any = Node()
    pool = ExecutorPool(node, [])
    pool.lease(lease(runtime_env))

    for number in range(TRIES):
        assert len(node.forked) == number + 1 and not node.problems()
        pool.on_exited(node.forked[-1], 100 + number, 1)

    (problem,) = node.problems()
    assert f"{TRIES} have ended" in problem and "exited with code 1" in problem
    assert len(node.forked) == TRIES and not pool.executors and not pool.hands


def test_deaths_of_the_zygote_are_not_the_executors_fault() -> None:
    node: Any = Node()
    pool = ExecutorPool(node, [])
    pool.lease(lease())

    for _ in range(2 * TRIES):
        pool.on_all_lost()

    assert not node.problems() and len(pool.executors) == 1


def test_a_lease_is_given_up_that_says_more_than_the_zygote_takes() -> None:
    node: Any = Node()
    pool = ExecutorPool(node, [])
    node.too_long = True

    pool.lease(lease('{"env_vars": {"A": "a"}}'))

    (problem,) = node.problems()
    assert "too long" in problem and not pool.executors and not pool.hands
