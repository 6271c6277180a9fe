"""The advanced examples of Ray 1.1, as programs of somebody who has read them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import setproctitle
from filelock import FileLock

import ray_on_dask as ray
from ray_on_dask.util.queue import Queue


@pytest.fixture
def session() -> Iterator[Any]:
    """A cluster with everything that the examples ask for."""
    resources = {"Custom1": 1, "Custom2": 1, "Custom3": 1, "accelerator_type:V100": 1}
    yield ray.init(num_cpus=8, num_gpus=1, resources=resources)
    ray.shutdown()


def eventually(condition: Callable[[], object], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not true after {seconds} s"
        time.sleep(0.02)


def test_a_file_lock_keeps_three_writers_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @ray.remote
    def add_line(line: str) -> None:
        with FileLock("notes.txt.lock"), open("notes.txt", "a") as notes:
            notes.write(line)

    monkeypatch.chdir(tmp_path)
    with ray.init(num_cpus=3):
        ray.get([add_line.remote("a line\n") for _ in range(3)])
    assert Path("notes.txt").read_text() == "a line\n" * 3


@pytest.mark.parametrize("own", [True, False])
def test_a_signal_lets_four_tasks_go(session: Any, own: bool, tmp_path: Path) -> None:
    @ray.remote(num_cpus=0)
    class OwnSignal:
        def __init__(self) -> None:
            self.event = asyncio.Event()

        def send(self, clear: bool = False) -> None:
            self.event.set()
            if clear:
                self.event.clear()

        async def wait(self, should_wait: bool = True) -> None:
            if should_wait:
                await self.event.wait()

    @ray.remote
    def start_at(signal: Any, runner: int) -> int:
        (tmp_path / str(runner)).touch()
        ray.get(signal.wait.remote())
        return runner

    signal = OwnSignal.remote() if own else ray.test_utils.SignalActor.remote()
    runners = [start_at.remote(signal, i) for i in range(4)]
    eventually(lambda: len(os.listdir(tmp_path)) == 4)
    ray.get(signal.wait.remote(should_wait=False))
    assert ray.wait(runners, num_returns=4, timeout=0.1) == ([], runners)
    ray.get(signal.send.remote())
    assert ray.get(runners) == [0, 1, 2, 3]


@pytest.fixture
def unmerged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that differ in numbers alone are all shown, whichever processes print them."""
    monkeypatch.setenv("RAY_DEDUP_LOGS", "0")


def test_lines_of_four_tasks_all_reach_the_driver(
    unmerged: None, session: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    @ray.remote
    def say(i: int) -> None:
        print(f"runner {i} is off")

    ray.get([say.remote(i) for i in range(4)])
    printed: list[str] = []

    def all_there() -> bool:
        printed.extend(capfd.readouterr())
        text = "".join(printed)
        return all(f"runner {i} is off" in text for i in range(4))

    eventually(all_there)
    assert "pid=" in "".join(printed)


def test_a_queue_brings_work_to_two_consumers(session: Any) -> None:
    @ray.remote
    def take(queue: Any) -> int:
        return queue.get(block=True)

    queue = Queue(maxsize=100)
    consumers = [take.remote(queue) for _ in range(2)]
    for i in range(10):
        queue.put(i)
    taken = ray.get(consumers)
    left = [queue.get() for _ in range(8)]
    assert sorted(taken + left) == list(range(10))
    assert queue.empty()


def test_one_class_gives_actors_of_different_requirements(session: Any) -> None:
    @ray.remote(num_cpus=4)
    class Tally:
        def __init__(self) -> None:
            self.count = 0

        def more(self) -> int:
            self.count += 1
            return self.count

    tallies = [Tally.options(num_cpus=n, resources={f"Custom{n}": 1}).remote() for n in (1, 2, 3)]
    assert ray.get([tally.more.remote() for tally in tallies]) == [1, 1, 1]
    eventually(lambda: ray.available_resources().get("CPU") == 2)
    assert not {"Custom1", "Custom2", "Custom3"} & set(ray.available_resources())


def test_gpu_ids_come_with_gpus(session: Any) -> None:
    @ray.remote
    def gpus() -> list[int]:
        return ray.get_gpu_ids()

    assert ray.get(gpus.remote()) == []
    assert ray.get(gpus.options(num_cpus=1, num_gpus=1).remote()) == [0]


def test_the_number_of_returns_can_be_chosen_at_the_call(session: Any) -> None:
    @ray.remote
    def first_numbers(n: int) -> list[int]:
        return list(range(n))

    @ray.remote
    class Numbers:
        def first(self, n: int) -> list[int]:
            return list(range(n))

    for call in (first_numbers, Numbers.remote().first):
        zero, one = call.options(num_returns=2).remote(2)
        assert ray.get(zero) == 0
        assert ray.get(one) == 1


def test_a_task_and_a_method_run_under_the_name_given(session: Any) -> None:
    @ray.remote
    def titled(x: int) -> tuple[str, int]:
        return setproctitle.getproctitle(), x + 1

    @ray.remote
    class Titled:
        def title(self) -> str:
            return setproctitle.getproctitle()

    assert ray.get(titled.options(name="special").remote(3)) == ("ray::special", 4)
    assert ray.get(Titled.remote().title.options(name="act").remote()) == "ray::act"


def test_an_accelerator_type_is_demanded_as_a_resource(session: Any) -> None:
    from ray_on_dask.util.accelerators import NVIDIA_TESLA_V100

    @ray.remote(num_gpus=1, accelerator_type=NVIDIA_TESLA_V100)
    def train() -> dict[str, float]:
        return ray.get_runtime_context().get_assigned_resources()

    assert ray.get(train.remote())["accelerator_type:V100"] == 0.001


def test_the_accelerators_are_found_where_the_document_imports_them() -> None:
    from ray_on_dask.accelerators import NVIDIA_TESLA_V100

    assert NVIDIA_TESLA_V100 == "V100"


def test_a_task_returns_ids_or_values_of_its_tasks(session: Any) -> None:
    @ray.remote
    def leaf() -> int:
        return 1

    @ray.remote
    def ids() -> list[Any]:
        return [leaf.remote() for _ in range(4)]

    @ray.remote
    def values() -> list[int]:
        return ray.get([leaf.remote() for _ in range(4)])

    refs = ray.get(ids.remote())
    assert all(isinstance(ref, ray.ObjectRef) for ref in refs)
    assert len({repr(ref) for ref in refs}) == 4
    assert ray.get(refs) == [1, 1, 1, 1]
    assert ray.get(values.remote()) == [1, 1, 1, 1]


def test_a_task_that_waits_for_another_gives_up_its_only_cpu() -> None:
    @ray.remote(num_cpus=1)
    def answer() -> int:
        return 42

    @ray.remote(num_cpus=1, num_gpus=1)
    def asks() -> tuple[int, list[int]]:
        return ray.get(answer.remote()), ray.get_gpu_ids()

    with ray.init(num_cpus=1, num_gpus=1):
        assert ray.get(asks.remote(), timeout=60) == (42, [0])
        assert ray.get([asks.remote() for _ in range(3)], timeout=60) == [(42, [0])] * 3


def test_nodes_tell_all_there_is_to_know(session: Any) -> None:
    (node,) = ray.nodes()
    assert len(bytes.fromhex(node["NodeID"])) in (20, 28)
    assert node["Alive"] is node["alive"] is True
    for key in ("NodeManagerAddress", "NodeManagerHostname", "ObjectStoreSocketName"):
        assert isinstance(node[key], str)
    for key in ("NodeManagerPort", "ObjectManagerPort", "MetricsExportPort"):
        assert isinstance(node[key], int)
    assert isinstance(node["RayletSocketName"], str)
    resources = node["Resources"]
    assert resources["CPU"] == 8
    assert resources["memory"] > 0
    assert resources["object_store_memory"] > 0
    assert resources[f"node:{node['NodeManagerAddress']}"] == 1


def test_resources_in_use_are_missing_from_those_available(session: Any, tmp_path: Path) -> None:
    go = tmp_path / "go"

    @ray.remote(num_cpus=5, resources={"Custom1": 1})
    def holds() -> None:
        while not go.exists():
            time.sleep(0.01)

    assert ray.cluster_resources()["CPU"] == 8
    holding = holds.remote()
    eventually(lambda: ray.available_resources()["CPU"] == 3)
    assert "Custom1" not in ray.available_resources()
    assert ray.cluster_resources()["Custom1"] == 1
    go.touch()
    ray.get(holding)
    eventually(lambda: ray.available_resources()["CPU"] == 8)


def test_a_module_the_driver_can_import_is_found_by_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lonely_module.py").write_text("def answer():\n    return 42\n")
    monkeypatch.syspath_prepend(tmp_path)

    @ray.remote
    def ask() -> int:
        import lonely_module  # type: ignore[import-not-found]

        return lonely_module.answer()

    with ray.init(num_cpus=1):
        assert ray.get(ask.remote()) == 42
