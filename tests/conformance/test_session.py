"""Sessions: beginning, ending, beginning again, and what holds in between."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conformance_module import exceptions, ray

Start = Callable[..., Any]


def test_nothing_is_known_before_init(start_cluster: Start) -> None:
    assert not ray.is_initialized()
    for ask in (ray.nodes, ray.cluster_resources, ray.available_resources):
        with pytest.raises(exceptions.RaySystemError, match="not been started"):
            ask()


def test_the_first_use_starts_a_cluster(start_cluster: Start) -> None:
    assert ray.get(ray.put(1)) == 1
    assert ray.is_initialized()


def test_a_session_can_be_a_with_block_and_shutdown_be_said_twice(start_cluster: Start) -> None:
    with start_cluster() as context:
        assert ray.is_initialized()
        assert context.address_info["node_id"] == ray.nodes()[0]["NodeID"]
        assert context.python_version.startswith(f"{sys.version_info[0]}.")
        ray.timeline()
        with pytest.raises(RuntimeError):
            ray.init()
        ray.init(ignore_reinit_error=True)
    assert not ray.is_initialized()
    assert ray.shutdown() is None
    assert ray.shutdown() is None


def test_functions_and_classes_work_again_in_the_next_session(start_cluster: Start) -> None:
    number = 1

    @ray.remote
    def show() -> int:
        return number

    @ray.remote
    class Show:
        def get(self) -> int:
            return number

    start_cluster()
    assert ray.get(show.remote()) == 1
    assert ray.get(Show.remote().get.remote()) == 1
    ray.shutdown()
    number = 2
    start_cluster()
    assert ray.get(show.remote()) == 2
    assert ray.get(Show.remote().get.remote()) == 2


def test_refs_and_handles_of_an_old_session_are_refused(start_cluster: Start) -> None:
    @ray.remote
    class Old:
        def ping(self) -> None: ...

    start_cluster()
    ref, actor = ray.put(1), Old.remote()
    ray.get(actor.ping.remote())
    ray.shutdown()
    start_cluster()
    with pytest.raises(ValueError):
        ray.get(ref, timeout=30)
    with pytest.raises(ValueError):
        ray.wait([ref], timeout=30.0)
    with pytest.raises(Exception, match="Failed to submit task to actor"):
        actor.ping.remote()
    with pytest.raises(exceptions.ActorHandleNotFoundError):
        ray.kill(actor)


def test_workers_share_the_drivers_directory(
    start_cluster: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @ray.remote
    def append(name: str) -> str:
        with open(name, "a") as file:
            file.write("line\n")
        return os.getcwd()

    monkeypatch.chdir(tmp_path)
    start_cluster()
    assert ray.get([append.remote("shared.txt") for _ in range(3)]) == [os.getcwd()] * 3
    assert Path("shared.txt").read_text() == "line\n" * 3


def test_threads_may_use_the_api_freely(start_cluster: Start) -> None:
    @ray.remote
    def double(x: int) -> int:
        return 2 * x

    def in_threads(count: int) -> list[int]:
        found: list[int] = []

        def work(i: int) -> None:
            found.extend(ray.get([double.remote(i), ray.put(i)]))

        threads = [threading.Thread(target=work, args=(i,)) for i in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sorted(found)

    start_cluster()
    expected = sorted([2 * i for i in range(5)] + list(range(5)))
    assert in_threads(5) == expected
    assert ray.get(ray.remote(in_threads).remote(5)) == expected


def test_init_sets_namespace_and_resources(start_cluster: Start) -> None:
    start_cluster(namespace="mine", num_cpus=3, resources={"Spice": 2}, num_gpus=0)
    assert ray.get_runtime_context().namespace == "mine"
    assert ray.cluster_resources()["CPU"] == 3.0
    assert ray.cluster_resources()["Spice"] == 2.0
    assert "GPU" not in ray.cluster_resources()


def test_the_runtime_environment_of_init_reaches_the_workers(start_cluster: Start) -> None:
    @ray.remote
    def variables() -> tuple[str | None, str | None]:
        return os.environ.get("FROM_INIT"), os.environ.get("FROM_TASK")

    start_cluster(runtime_env={"env_vars": {"FROM_INIT": "i"}})
    assert ray.get(variables.remote()) == ("i", None)
    own = {"env_vars": {"FROM_TASK": "t"}}
    assert ray.get(variables.options(runtime_env=own).remote()) == ("i", "t")


def test_init_refuses_an_address_where_nothing_is(start_cluster: Start) -> None:
    with pytest.raises((ConnectionError, ValueError)):
        ray.init(address="127.0.0.1:1", num_cpus=1)
    assert not ray.is_initialized()


def test_an_actor_is_placed_by_one_cpu_though_it_holds_none(start_cluster: Start) -> None:
    @ray.remote
    class Light:
        def ping(self) -> str:
            return "pong"

    start_cluster(num_cpus=0)
    waits = Light.remote()
    ref = waits.ping.remote()
    assert ray.get(Light.options(num_cpus=0).remote().ping.remote(), timeout=60) == "pong"
    assert ray.wait([ref], timeout=0.5)[0] == []
