"""Programs that do the same in local mode as in a session: each runs in both."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

import ray_on_dask as ray
from ray_on_dask import exceptions


@pytest.fixture(params=["local", "session"], scope="module")
def both(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.param == "local":
        ray.init(local_mode=True, num_cpus=2)
    else:
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def test_arguments_and_results_are_copies(both: None) -> None:
    @ray.remote
    def grow(items: list[int]) -> list[int]:
        items.append(1)
        return items

    given = [0]
    ref = grow.remote(given)
    given.append(5)
    assert isinstance(ref, ray.ObjectRef)
    assert ray.get(ref) == [0, 1]
    assert given == [0, 5]
    assert ray.get(ref) is not ray.get(ref)


def test_refs_are_values_as_arguments_and_refs_inside_of_values(both: None) -> None:
    @ray.remote
    def look(value: int, inside: list[Any]) -> tuple[int, Any]:
        return value + ray.get(inside[0]), inside[0]

    ref = ray.put(4)
    total, again = ray.get(look.remote(ref, [ref]))
    assert (total, again == ref, ray.get(again)) == (8, True, 4)


def test_errors_come_out_of_get_and_spread(both: None) -> None:
    @ray.remote
    def fail() -> None:
        raise KeyError("x")

    @ray.remote
    def use(x: Any) -> Any:
        return x

    failed = fail.remote()
    for ref in (failed, use.remote(failed)):
        with pytest.raises(KeyError) as caught:
            ray.get(ref)
        assert isinstance(caught.value, exceptions.RayTaskError)
    assert ray.wait([failed], timeout=10.0)[0] == [failed]


def test_calls_are_checked_where_they_are_made(both: None) -> None:
    @ray.remote
    def one(x: int) -> int:
        return x

    with pytest.raises(TypeError, match="missing a required argument"):
        one.remote()
    with pytest.raises(TypeError):
        one(1)
    with pytest.raises(TypeError, match="Could not serialize the argument"):
        one.remote(threading.Lock())
    with pytest.raises(TypeError, match="Calling 'put'"):
        ray.put(ray.put(1))


def test_several_results(both: None) -> None:
    def give(count: int) -> Any:
        return tuple(range(count)) if count != 3 else (1, 2)

    remote = ray.remote(give)
    assert remote.options(num_returns=0).remote(0) is None
    assert ray.get(remote.options(num_returns=2).remote(2)) == [0, 1]
    with pytest.raises(ValueError, match="Task returned 2 objects, but num_returns=3"):
        ray.get(remote.options(num_returns=3).remote(3))


def test_generators(both: None) -> None:
    @ray.remote
    def count(to: int) -> Iterator[int]:
        yield from range(to)
        raise ValueError("end")

    refs = count.remote(2)
    assert isinstance(refs, ray.ObjectRefGenerator)
    assert [ray.get(next(refs)), ray.get(next(refs))] == [0, 1]
    with pytest.raises(ValueError):
        ray.get(next(refs))
    with pytest.raises(StopIteration):
        next(refs)
    assert ray.get(refs.completed()) is None


def test_retries_of_exceptions(both: None, tmp_path: Any) -> None:
    @ray.remote(max_retries=2, retry_exceptions=[ValueError])
    def third_time(path: str) -> int:
        runs = len(os.listdir(path))
        open(os.path.join(path, str(runs)), "w").close()
        if runs < 2:
            raise ValueError
        return runs

    assert ray.get(third_time.remote(str(tmp_path))) == 2


@pytest.fixture
def counter(both: None) -> Any:
    @ray.remote
    class Counter:
        def __init__(self, start: int = 0):
            self.count = start

        def add(self) -> int:
            self.count += 1
            return self.count

        def fail(self) -> None:
            raise KeyError("x")

        def leave(self) -> None:
            ray.actor.exit_actor()

        def me(self) -> Any:
            return ray.get_runtime_context().current_actor

        def up_to(self, n: int) -> Iterator[int]:
            yield from range(n)

        @ray.method(num_returns=2)
        def two(self) -> tuple[int, int]:
            return 1, 2

    return Counter


def test_actors_keep_state_and_survive_errors(counter: Any) -> None:
    actor = counter.remote(5)
    assert ray.get([actor.add.remote(), actor.add.remote()]) == [6, 7]
    with pytest.raises(KeyError):
        ray.get(actor.fail.remote())
    assert ray.get(actor.two.remote()) == [1, 2]
    assert [ray.get(ref) for ref in actor.up_to.remote(3)] == [0, 1, 2]
    assert ray.get(actor.me.remote()) == actor


def test_handles_go_anywhere(counter: Any) -> None:
    @ray.remote
    def use(handles: list[Any]) -> int:
        return ray.get(handles[0].add.remote())  # type: ignore[no-any-return]

    actor = counter.remote()
    assert ray.get(use.remote([actor])) == 1
    assert ray.get(actor.add.remote()) == 2


def test_names_of_actors(counter: Any) -> None:
    actor = counter.options(name="a name").remote()
    assert ray.get_actor("a name") == actor
    assert ray.util.list_named_actors() == ["a name"]
    with pytest.raises(exceptions.ActorAlreadyExistsError):
        counter.options(name="a name").remote()
    assert counter.options(name="a name", get_if_exists=True).remote() == actor
    ray.kill(actor)
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(actor.add.remote())
    with pytest.raises(ValueError, match="Failed to look up"):
        ray.get_actor("a name")


def test_the_ends_of_actors(counter: Any) -> None:
    @ray.remote
    class Stillborn:
        def __init__(self) -> None:
            raise RuntimeError("no")

        def ping(self) -> None:
            pass

    actor = counter.remote()
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(actor.leave.remote())
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(actor.add.remote())
    with pytest.raises(exceptions.ActorDiedError) as caught:
        ray.get(Stillborn.remote().ping.remote())
    assert caught.value.actor_init_failed


def test_asynchronous_actors_wait_for_one_another(both: None) -> None:
    """The first call would never end if calls ran strictly one after the other."""

    @ray.remote
    class Gate:
        def __init__(self) -> None:
            self.open = asyncio.Event()

        async def wait(self) -> str:
            await self.open.wait()
            return "through"

        def let_go(self) -> None:
            self.open.set()

    gate = Gate.remote()
    waiting = gate.wait.remote()
    assert ray.wait([waiting], timeout=0)[0] == []
    with pytest.raises(exceptions.GetTimeoutError):
        ray.get(waiting, timeout=0.05)
    gate.let_go.remote()

    async def main() -> Any:
        return await waiting

    assert asyncio.run(main()) == "through"


def test_the_loop_of_an_asynchronous_actor_is_closed_with_it() -> None:
    ray.shutdown()
    gc.collect()
    gc.disable()  # a loop that is only let go is closed when it is collected
    before = len(os.listdir("/proc/self/fd"))
    try:
        with ray.init(local_mode=True):

            @ray.remote
            class Echo:
                async def echo(self, x: int) -> int:
                    return x

            dropped, kept, killed = (Echo.remote() for _ in range(3))
            assert ray.get([actor.echo.remote(1) for actor in (dropped, kept, killed)]) == [1, 1, 1]
            ray.kill(killed)
            del dropped
        end = time.monotonic() + 30
        while len(os.listdir("/proc/self/fd")) > before:
            assert time.monotonic() < end, "a loop is left open"
            time.sleep(0.01)
    finally:
        gc.enable()
