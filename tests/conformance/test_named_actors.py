"""Actors with names: taken, found, freed, and kept apart by namespaces."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from conformance_module import eventually, exceptions, import_submodule, ray

pytestmark = pytest.mark.usefixtures("cluster")


@pytest.fixture
def holder() -> Any:
    """The class of an actor that holds a value."""

    @ray.remote
    class Holder:
        def __init__(self, value: Any = None) -> None:
            self.value = value

        def get(self) -> Any:
            return self.value

    return Holder


@pytest.fixture
def name() -> str:
    return f"n{uuid.uuid4().hex}"


def is_missing(name: str) -> bool:
    try:
        ray.get_actor(name)
    except ValueError:
        return True
    return False


def test_a_named_actor_is_found_by_its_name(holder: Any, name: str) -> None:
    @ray.remote
    def find() -> Any:
        return ray.get(ray.get_actor(name).get.remote())

    actor = holder.options(name=name).remote(5)
    found = ray.get_actor(name)
    assert found == actor
    assert ray.get(found.get.remote()) == 5
    assert ray.get(find.remote()) == 5


def test_a_taken_name_is_refused_at_once(holder: Any, name: str) -> None:
    _actor = holder.options(name=name).remote()
    with pytest.raises(ValueError, match="already taken") as caught:
        holder.options(name=name).remote()
    assert isinstance(caught.value, exceptions.ActorAlreadyExistsError)
    assert name in str(caught.value)


def test_a_name_is_free_again_after_kill(holder: Any, name: str) -> None:
    for value in range(3):
        actor = holder.options(name=name).remote(value)
        assert ray.get(actor.get.remote()) == value
        ray.kill(actor)
        eventually(lambda: is_missing(name))


def test_get_if_exists_gives_the_one_there_is(holder: Any, name: str) -> None:
    first = holder.options(name=name, get_if_exists=True).remote(1)
    second = holder.options(name=name, get_if_exists=True).remote(2)
    assert first == second
    assert ray.get(second.get.remote()) == 1
    with pytest.raises(ValueError, match="name"):
        holder.options(get_if_exists=True).remote()


def test_a_missing_or_empty_name_is_a_value_error(holder: Any, name: str) -> None:
    with pytest.raises(ValueError, match="Failed to look up actor"):
        ray.get_actor(name)
    with pytest.raises(ValueError, match="non-empty"):
        ray.get_actor("")
    with pytest.raises(ValueError):
        holder.options(name="").remote()


def test_a_handle_found_by_name_does_not_keep_the_actor(holder: Any, name: str) -> None:
    actor = holder.options(name=name).remote(1)
    found = ray.get_actor(name)
    assert ray.get(found.get.remote()) == 1
    del actor
    eventually(lambda: is_missing(name))
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(found.get.remote(), timeout=60)


def test_names_are_kept_apart_by_namespaces(holder: Any, name: str) -> None:
    here = holder.options(name=name).remote("here")
    there = holder.options(name=name, namespace="there").remote("there")
    assert ray.get(ray.get_actor(name).get.remote()) == "here"
    assert ray.get(ray.get_actor(name, namespace="there").get.remote()) == "there"
    assert here != there
    with pytest.raises(ValueError):
        ray.get_actor(name, namespace="elsewhere")


def test_the_default_namespace_is_a_uuid_that_tasks_inherit(name: str) -> None:
    @ray.remote
    def space() -> str:
        return ray.get_runtime_context().namespace

    mine = ray.get_runtime_context().namespace
    assert str(uuid.UUID(mine)) == mine
    assert ray.get(space.remote()) == mine


@pytest.mark.parametrize(
    ("options", "kind"), [({"namespace": ""}, ValueError), ({"namespace": 1}, TypeError)]
)
def test_a_bad_namespace_is_refused(
    options: dict[str, Any], kind: type[Exception], holder: Any, name: str
) -> None:
    with pytest.raises(kind):
        holder.options(name=name, **options).remote()


def test_a_detached_actor_outlives_its_handles(holder: Any, name: str) -> None:
    actor = holder.options(name=name, lifetime="detached").remote(3)
    ray.get(actor.get.remote())
    del actor
    with pytest.raises(AssertionError):
        eventually(lambda: is_missing(name), seconds=1.0)
    found = ray.get_actor(name)
    assert ray.get(found.get.remote()) == 3
    ray.kill(found)
    eventually(lambda: is_missing(name))


def test_a_detached_actor_needs_no_name(holder: Any) -> None:
    actor = holder.options(lifetime="detached").remote(1)
    assert ray.get(actor.get.remote()) == 1
    ray.kill(actor)


def test_an_unknown_lifetime_is_refused(holder: Any) -> None:
    with pytest.raises(ValueError, match="lifetime"):
        holder.options(lifetime="for ever").remote()


def test_a_named_actor_knows_its_name(name: str) -> None:
    @ray.remote
    class Own:
        def name(self) -> str:
            return ray.get_runtime_context().get_actor_name()

    named, unnamed = Own.options(name=name).remote(), Own.remote()
    assert ray.get([named.name.remote(), unnamed.name.remote()]) == [name, ""]


def test_named_actors_are_listed(holder: Any, name: str) -> None:
    util = import_submodule("util")
    _actor = holder.options(name=name).remote()
    ray.get(_actor.get.remote())
    mine = ray.get_runtime_context().namespace
    assert name in util.list_named_actors()
    assert {"name": name, "namespace": mine} in util.list_named_actors(all_namespaces=True)
