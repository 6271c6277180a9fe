"""Graphs bound by `bind` and run by `execute`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import ray_on_dask as ray
from ray_on_dask.dag import InputNode, MultiOutputNode


@pytest.fixture(scope="module", autouse=True)
def session() -> Iterator[None]:
    """One session for all."""
    ray.init(num_cpus=2, include_dashboard=False)
    yield
    ray.shutdown()


def test_a_graph_of_functions_runs_each_node_once() -> None:
    @ray.remote
    class Counter:
        def __init__(self) -> None:
            self.calls = 0

        def next(self) -> int:
            self.calls += 1
            return self.calls

    counter = Counter.remote()

    @ray.remote
    def add(a: int, b: int) -> int:
        return a + b

    shared = counter.next.bind()
    assert ray.get(add.bind(shared, shared).execute()) == 2
    assert ray.get(counter.next.remote()) == 2


def test_inputs_come_as_a_whole_by_position_and_by_name() -> None:
    @ray.remote
    def scale(x: int, factor: int = 2) -> int:
        return x * factor

    with InputNode() as x:
        assert ray.get(scale.bind(x).execute(21)) == 42
    with InputNode() as given:
        graph = scale.bind(given[0], factor=given.factor)
    assert ray.get(graph.execute(5, factor=3)) == 15
    with pytest.raises(ValueError, match="factor"):
        graph.execute(5)
    with InputNode() as x, pytest.raises(ValueError, match="one argument"):
        scale.bind(x).execute(1, 2)


def test_an_actor_of_a_graph_is_made_once_and_kept() -> None:
    @ray.remote
    class Total:
        def __init__(self, start: int) -> None:
            self.value = start

        def add(self, x: Any) -> int:
            self.value += x
            return self.value

    with InputNode() as x:
        total = Total.bind(100)
        graph = MultiOutputNode([total.add.bind(x), total.add.bind(1)])
    assert ray.get(graph.execute(10)) == [110, 111]
    assert ray.get(graph.execute(10)) == [121, 122]
