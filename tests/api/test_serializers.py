"""Serializers of the user's count wherever a value of that class is pickled."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(60)


class Guarded:
    """Cannot be pickled by itself."""

    def __init__(self, value: int):
        self.value = value
        self.lock = threading.Lock()


@pytest.fixture(scope="module")
def ray(ray_session: Callable[..., Any]) -> Any:
    return ray_session(num_cpus=2)


@pytest.fixture
def registered(ray: Any) -> Iterator[None]:
    ray.register_serializer(Guarded, serializer=lambda x: x.value, deserializer=Guarded)
    yield
    ray.deregister_serializer(Guarded)


def test_it_counts_for_put_arguments_and_results_at_any_depth(ray: Any, registered: None) -> None:
    @ray.remote
    def more(given: Any) -> Any:
        return {"made": [Guarded(given["x"][0].value + 1)]}

    assert ray.get(ray.put([Guarded(3)]))[0].value == 3
    assert ray.get(more.remote({"x": (Guarded(5),)}))["made"][0].value == 6


def test_it_counts_in_processes_that_ran_already_and_in_those_that_these_start(ray: Any) -> None:
    @ray.remote
    class Maker:
        def make(self, value: int) -> Any:
            return Guarded(value)

        def nested(self, value: int) -> Any:
            return ray.get(make.remote(value))

    @ray.remote
    def make(value: int) -> Any:
        return Guarded(value)

    maker = Maker.remote()
    with pytest.raises(Exception, match="pickle"):
        ray.get(maker.make.remote(1))
    with pytest.raises(Exception, match="pickle"):
        ray.get(make.remote(1))
    ray.register_serializer(Guarded, serializer=lambda x: x.value, deserializer=Guarded)
    try:
        assert ray.get(maker.make.remote(1)).value == 1
        assert ray.get(make.remote(2)).value == 2
        assert ray.get(maker.nested.remote(3)).value == 3
        # One that is registered anew replaces the first, everywhere.
        ray.register_serializer(Guarded, serializer=lambda x: -x.value, deserializer=Guarded)
        assert ray.get(maker.make.remote(1)).value == -1
    finally:
        ray.deregister_serializer(Guarded)
    with pytest.raises(Exception, match="pickle"):
        ray.get(maker.make.remote(1))


def test_what_is_no_class_or_no_function_is_refused(ray: Any) -> None:
    with pytest.raises(TypeError, match="takes a class"):
        ray.register_serializer("Guarded", serializer=repr, deserializer=eval)
    with pytest.raises(TypeError, match="deserializer"):
        ray.register_serializer(Guarded, serializer=repr, deserializer=None)


def test_one_that_cannot_be_pickled_counts_here(ray: Any, caplog: Any) -> None:
    lock = threading.Lock()

    def serializer(value: Guarded) -> int:
        with lock:
            return value.value

    ray.register_serializer(Guarded, serializer=serializer, deserializer=Guarded)
    assert ray.get(ray.put(Guarded(2))).value == 2
    assert "in this process alone" in caplog.text
    ray.deregister_serializer(Guarded)
