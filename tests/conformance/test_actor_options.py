"""What the options of actors and of their methods do."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from conformance_module import eventually, exceptions, ray

CLUSTER = {"num_gpus": 2, "resources": {"Spice": 2}}
pytestmark = pytest.mark.usefixtures("cluster")


@pytest.fixture
def teller() -> Any:
    """The class of an actor that tells about itself."""

    @ray.remote(resources={"Spice": 1}, runtime_env={"env_vars": {"ONE": "1"}})
    class Teller:
        def assigned(self) -> dict[str, float]:
            return ray.get_runtime_context().get_assigned_resources()

        def variables(self) -> list[str | None]:
            return [os.environ.get(name) for name in ("ONE", "TWO")]

    return Teller


def test_options_replace_resources_and_environments_whole(teller: Any) -> None:
    plain = teller.options(resources=None).remote()
    assert ray.get(plain.assigned.remote()) == {}
    assert ray.get(plain.variables.remote()) == ["1", None]
    other = teller.options(runtime_env={"env_vars": {"TWO": "2"}}).remote()
    assert ray.get(other.assigned.remote()) == {"CPU": 1.0, "Spice": 1.0}
    assert ray.get(other.variables.remote()) == [None, "2"]


def test_an_actor_keeps_its_gpus_all_its_life() -> None:
    @ray.remote(num_gpus=1)
    class OnGpu:
        def ids(self) -> tuple[list[int], str, list[str]]:
            accelerators = ray.get_runtime_context().get_accelerator_ids()["GPU"]
            ids = [int(i) for i in ray.get_gpu_ids()]
            return ids, os.environ["CUDA_VISIBLE_DEVICES"], accelerators

    one, two = OnGpu.remote(), OnGpu.remote()
    seen = ray.get([actor.ids.remote() for actor in (one, two) for _ in range(3)])
    assert seen[:3] == [seen[0]] * 3
    assert seen[3:] == [seen[3]] * 3
    assert sorted([seen[0], seen[3]]) == [([0], "0", ["0"]), ([1], "1", ["1"])]


def test_memory_is_held_by_an_actor_that_asks_for_it() -> None:
    @ray.remote(memory=1000.9, num_cpus=0)
    class Heavy:
        def assigned(self) -> dict[str, float]:
            return ray.get_runtime_context().get_assigned_resources()

    assert ray.get(Heavy.remote().assigned.remote()) == {"memory": 1000.0}


def test_lifetime_may_be_said_to_be_the_usual_one(teller: Any) -> None:
    for lifetime in ("non_detached", None):
        actor = teller.options(resources=None, lifetime=lifetime).remote()
        ray.get(actor.assigned.remote())


def test_an_actor_goes_where_labels_say(teller: Any) -> None:
    @ray.remote(num_cpus=0)
    class Here:
        def node(self) -> str:
            return ray.get_runtime_context().get_node_id()

    node = ray.get_runtime_context().get_node_id()
    here = Here.options(label_selector={"ray.io/node-id": node}).remote()
    assert ray.get(here.node.remote()) == node
    nowhere = Here.options(label_selector={"ray.io/node-id": f"!{node}"}).remote()
    assert ray.wait([nowhere.node.remote()], timeout=0.5)[0] == []


def test_an_actor_named_in_a_task_is_in_the_drivers_namespace(teller: Any) -> None:
    @ray.remote(num_cpus=0)
    def make(name: str) -> Any:
        return teller.options(resources=None, name=name).remote()

    name = uuid.uuid4().hex
    actor = ray.get(make.remote(name))
    assert ray.get_actor(name) == actor


def test_pending_calls_are_counted_until_they_have_ended(gate: Any) -> None:
    @ray.remote(max_pending_calls=2, num_cpus=0)
    class Slow:
        def wait(self) -> int:
            gate.wait()
            return 1

    slow = Slow.remote()
    refs = [slow.wait.remote() for _ in range(2)]
    with pytest.raises(exceptions.PendingCallsLimitExceeded):
        slow.wait.remote()
    gate.open()
    assert ray.get(refs) == [1, 1]
    assert ray.get(slow.wait.remote()) == 1


def test_a_concurrency_group_has_a_limit_of_its_own(gate: Any, journal: Any) -> None:
    @ray.remote(concurrency_groups={"io": 2}, max_concurrency=3, num_cpus=0)
    class Grouped:
        @ray.method(concurrency_group="io")
        def grouped(self) -> None:
            journal.write("io")
            gate.wait()

        def other(self) -> None:
            journal.write("other")
            gate.wait()

    actor = Grouped.remote()
    refs = [method.remote() for _ in range(6) for method in (actor.grouped, actor.other)]
    eventually(lambda: len(journal.read()) >= 5)
    assert ray.wait(refs, timeout=0.3)[0] == []
    assert sorted(journal.read()) == ["io"] * 2 + ["other"] * 3
    gate.open()
    ray.get(refs)


def counting(journal: Any) -> Any:
    """The class of an actor that yields numbers and writes down how far it is."""

    @ray.remote(num_cpus=0)
    class Source:
        @ray.method(_generator_backpressure_num_objects=2)
        def careful(self, n: int) -> Iterator[int]:
            yield from self.numbers(n)

        def free(self, n: int) -> Iterator[int]:
            yield from self.numbers(n)

        def numbers(self, n: int) -> Iterator[int]:
            for i in range(n):
                journal.write(i)
                yield i

    return Source


@pytest.mark.parametrize("by", ["method", "options"])
def test_methods_that_stream_have_backpressure(by: str, journal: Any) -> None:
    source = counting(journal).remote()
    if by == "method":
        stream = source.careful.remote(6)
    else:
        stream = source.free.options(_generator_backpressure_num_objects=2).remote(6)
    eventually(lambda: len(journal.read()) == 2)
    assert ray.get(next(stream)) == 0
    eventually(lambda: len(journal.read()) >= 3)
    assert len(journal.read()) <= 4
    assert [ray.get(ref) for ref in stream] == [1, 2, 3, 4, 5]


def test_backpressure_of_a_method_can_be_taken_away(journal: Any) -> None:
    source = counting(journal).remote()
    stream = source.careful.options(_generator_backpressure_num_objects=-1).remote(6)
    eventually(lambda: len(journal.read()) == 6)
    assert [ray.get(ref) for ref in stream] == [0, 1, 2, 3, 4, 5]
    assert [ray.get(ref) for ref in source.free.remote(3)] == [0, 1, 2]
