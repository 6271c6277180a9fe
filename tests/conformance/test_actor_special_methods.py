"""Methods with special names and special times: `__len__`, `__init__` on a loop, the last rites."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from conformance_module import eventually, exceptions, ray

pytestmark = pytest.mark.usefixtures("cluster")


def test_special_methods_can_be_called_as_others_can() -> None:
    class Bag:
        def __init__(self) -> None:
            self.items = {"a": 1}

        def __len__(self) -> int:
            return len(self.items)

        def __getitem__(self, key: str) -> int:
            return self.items[key]

        def __setitem__(self, key: str, value: int) -> None:
            self.items[key] = value

        def __call__(self, x: int) -> int:
            return 2 * x

        def __contains__(self, key: str) -> bool:
            return key in self.items

    bag = ray.remote(Bag).remote()
    bag.__setitem__.remote("b", 2)
    calls = [
        bag.__len__.remote(),
        bag.__getitem__.remote("b"),
        bag.__call__.remote(4),
        bag.__contains__.remote("c"),
    ]
    assert ray.get(calls) == [2, 2, 8, False]
    with pytest.raises(TypeError, match="no len"):
        len(bag)


def test_init_of_an_async_actor_runs_on_its_loop() -> None:
    class Worker:
        def __init__(self) -> None:
            self.loop = asyncio.get_running_loop()
            self.ticks = 0
            self.ticking = asyncio.create_task(self.tick())
            self.value = ray.get(ray.put(3))

        async def tick(self) -> None:
            while self.ticks < 3:
                await asyncio.sleep(0.01)
                self.ticks += 1

        async def state(self) -> Any:
            await self.ticking
            return self.loop is asyncio.get_running_loop(), self.ticks, self.value

    assert ray.get(ray.remote(Worker).remote().state.remote()) == (True, 3, 3)


def test_init_may_be_a_coroutine(gate: Any) -> None:
    class Worker:
        async def __init__(self, refs: Any) -> None:
            self.value = await refs[0]

        def get(self) -> int:
            return self.value

    def late() -> int:
        gate.wait()
        return 5

    worker = ray.remote(Worker).remote([ray.remote(late).remote()])
    value = worker.get.remote()
    assert ray.wait([value], timeout=0.5)[0] == []
    gate.open()
    assert ray.get(value) == 5


def test_an_error_in_an_init_that_is_a_coroutine_fails_the_actor() -> None:
    class Worker:
        async def __init__(self) -> None:
            await asyncio.sleep(0)
            raise ValueError("not today")

        async def get(self) -> None: ...

    with pytest.raises(exceptions.ActorDiedError, match="not today"):
        ray.get(ray.remote(Worker).remote().get.remote())


def leaving(journal: Any) -> type:
    class Leaving:
        def __init__(self) -> None:
            import atexit

            atexit.register(journal.write, "atexit")

        def ready(self) -> None: ...

        def exit(self) -> None:
            ray.actor.exit_actor()

        def exit_python(self) -> None:
            raise SystemExit(0)

        def __ray_shutdown__(self) -> None:
            journal.write("shutdown")

        def __del__(self) -> None:
            journal.write("del")

    return Leaving


@pytest.mark.parametrize("how", ["", "exit", "exit_python", "__ray_terminate__"])
@pytest.mark.parametrize("options", [{}, {"max_concurrency": 2}])
def test_an_orderly_end_shuts_down_deletes_and_exits(
    how: str, options: dict[str, Any], journal: Any
) -> None:
    cls = ray.remote(leaving(journal))  # kept: with Ray it is an instance of the class, deleted too
    actor = cls.options(**options).remote()
    ray.get(actor.ready.remote())
    if how:
        with pytest.raises(exceptions.RayActorError):
            ray.get(getattr(actor, how).remote())
    else:
        del actor
    eventually(lambda: "atexit" in journal.read())
    assert journal.read() == ["shutdown", "del", "atexit"]


def test_what_shutdown_raises_does_not_keep_the_actor_from_ending(journal: Any) -> None:
    class Clumsy:
        async def ready(self) -> None: ...

        def __ray_shutdown__(self) -> None:
            journal.write("shutdown")
            raise ValueError("in the way")

        def __del__(self) -> None:
            journal.write("del")

    cls = ray.remote(Clumsy)
    actor = cls.remote()
    ray.get(actor.ready.remote())
    del actor
    eventually(lambda: journal.read() == ["shutdown", "del"])


def test_kill_leaves_no_time_for_that(journal: Any) -> None:
    cls = ray.remote(leaving(journal))
    actor = cls.remote()
    ray.get(actor.ready.remote())
    ray.kill(actor)
    with pytest.raises(exceptions.RayActorError):
        ray.get(actor.ready.remote())
    assert journal.read() == []
