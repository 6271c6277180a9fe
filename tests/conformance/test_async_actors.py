"""Actors that do several things at once: coroutines, threads, groups."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from conformance_module import eventually, ray

pytestmark = pytest.mark.usefixtures("cluster")


def test_an_async_method_waits_while_another_sets_it_free() -> None:
    @ray.remote
    class Signal:
        def __init__(self) -> None:
            self.event = asyncio.Event()

        def send(self) -> None:
            self.event.set()

        async def wait(self, i: int) -> int:
            await self.event.wait()
            return i

    signal = Signal.remote()
    waits = [signal.wait.remote(i) for i in range(10)]
    assert ray.wait(waits, timeout=0.1)[0] == []
    ray.get(signal.send.remote())
    assert ray.get(waits) == list(range(10))


def test_all_methods_of_an_async_actor_run_on_one_thread() -> None:
    @ray.remote
    class Mixed:
        def sync(self) -> int:
            return threading.get_ident()

        async def coroutine(self) -> int:
            return threading.get_ident()

    mixed = Mixed.remote()
    assert len(set(ray.get([mixed.sync.remote(), mixed.coroutine.remote()]))) == 1


def test_refs_are_awaited_inside_an_async_actor() -> None:
    @ray.remote
    def double(x: int) -> int:
        return 2 * x

    @ray.remote
    class Gatherer:
        async def gather(self, n: int) -> list[int]:
            return await asyncio.gather(*[double.remote(i) for i in range(n)])

        async def given(self, refs: list[Any]) -> int:
            return await refs[0]

        async def fails(self) -> str:
            try:
                await double.remote(None)
            except TypeError:
                return "caught"
            return "nothing"

    gatherer = Gatherer.remote()
    assert ray.get(gatherer.gather.remote(4)) == [0, 2, 4, 6]
    assert ray.get(gatherer.given.remote([ray.put(3)])) == 3
    assert ray.get(gatherer.fails.remote()) == "caught"


def test_an_error_in_a_coroutine_arrives_and_leaves_the_actor_alive() -> None:
    @ray.remote
    class Fragile:
        async def crack(self) -> None:
            raise KeyError("async")

        async def whole(self) -> bool:
            return True

    fragile = Fragile.remote()
    with pytest.raises(KeyError, match="async"):
        ray.get(fragile.crack.remote())
    assert ray.get(fragile.whole.remote())


@pytest.fixture
def crowd(gate: Any, journal: Any) -> Any:
    """The class of an actor whose calls stay inside until the gate opens."""

    @ray.remote
    class Crowd:
        def enter(self) -> None:
            journal.write("in")
            gate.wait()

    return Crowd


@pytest.mark.parametrize(("options", "overlap"), [({"max_concurrency": 3}, 3), ({}, 1)])
def test_so_many_calls_overlap_as_max_concurrency_says_and_one_by_default(
    options: dict[str, int], overlap: int, crowd: Any, gate: Any, journal: Any
) -> None:
    room = (crowd.options(**options) if options else crowd).remote()
    calls = [room.enter.remote() for _ in range(8)]
    eventually(lambda: len(journal.read()) >= overlap)
    assert ray.wait(calls, timeout=0.2)[0] == []
    assert len(journal.read()) == overlap
    gate.open()
    ray.get(calls)
    assert len(journal.read()) == 8


def test_max_concurrency_limits_coroutines_too() -> None:
    @ray.remote(max_concurrency=2)
    class Limited:
        def __init__(self) -> None:
            self.inside = self.most = 0

        async def enter(self) -> int:
            self.inside += 1
            self.most = max(self.most, self.inside)
            await asyncio.sleep(0.05)
            self.inside -= 1
            return self.most

    limited = Limited.remote()
    assert max(ray.get([limited.enter.remote() for _ in range(6)])) == 2


def test_an_overtaking_call_is_answered_while_another_waits(gate: Any) -> None:
    @ray.remote
    class Waits:
        async def never(self) -> None:
            await asyncio.Event().wait()

        async def quick(self) -> str:
            return "quick"

    waits = Waits.remote()
    blocked = waits.never.remote()
    assert ray.get(waits.quick.remote()) == "quick"
    assert ray.wait([blocked], timeout=0.0)[0] == []


def test_a_concurrency_of_zero_still_serves() -> None:
    @ray.remote(max_concurrency=0)
    class Zero:
        def one(self) -> int:
            return 1

    assert ray.get(Zero.remote().one.remote()) == 1


def test_concurrency_groups_run_beside_each_other(gate: Any) -> None:
    @ray.remote(concurrency_groups={"io": 2, "compute": 1})
    class Grouped:
        @ray.method(concurrency_group="io")
        def block(self) -> str:
            gate.wait()
            return "io"

        @ray.method(concurrency_group="compute")
        def compute(self) -> str:
            return "compute"

        def other(self) -> str:
            return "default"

    grouped = Grouped.remote()
    blocked = [grouped.block.remote() for _ in range(3)]
    assert ray.get([grouped.compute.remote(), grouped.other.remote()]) == ["compute", "default"]
    assert ray.get(grouped.other.options(concurrency_group="compute").remote()) == "default"
    gate.open()
    assert ray.get(blocked) == ["io"] * 3


def test_concurrency_groups_work_in_async_actors() -> None:
    @ray.remote(concurrency_groups={"io": 1})
    class Grouped:
        def __init__(self) -> None:
            self.event = asyncio.Event()

        @ray.method(concurrency_group="io")
        async def wait(self) -> str:
            while not self.event.is_set():
                await asyncio.sleep(0.01)
            return "free"

        async def send(self) -> None:
            self.event.set()

    grouped = Grouped.remote()
    blocked = grouped.wait.remote()
    ray.get(grouped.send.remote())
    assert ray.get(blocked) == "free"


def test_an_actor_may_call_itself_when_it_is_async() -> None:
    @ray.remote
    class Self:
        async def outer(self) -> str:
            return await ray.get_runtime_context().current_actor.inner.remote()

        async def inner(self) -> str:
            return "inner"

    assert ray.get(Self.remote().outer.remote()) == "inner"


def test_order_cannot_be_promised_for_concurrent_actors() -> None:
    @ray.remote
    class Async:
        async def one(self) -> int:
            return 1

    with pytest.raises(ValueError, match="allow_out_of_order_execution"):
        Async.options(allow_out_of_order_execution=False).remote()


def test_a_thousand_calls_are_inside_an_async_actor_at_once_and_no_more() -> None:
    @ray.remote(num_cpus=0)
    class Crowd:
        def __init__(self) -> None:
            self.inside = 0
            self.open = asyncio.Event()

        async def enter(self) -> int:
            self.inside += 1
            most = self.inside
            if self.inside == 1000:
                asyncio.get_running_loop().call_later(0.3, self.open.set)
            await self.open.wait()
            self.inside -= 1
            return most

    crowd = Crowd.remote()
    assert max(ray.get([crowd.enter.remote() for _ in range(1010)], timeout=120)) == 1000


def test_an_async_method_may_block_though_it_should_not() -> None:
    @ray.remote
    def one() -> int:
        return 1

    @ray.remote
    class Blocks:
        async def blocks(self) -> int:
            refs = [one.remote(), ray.put(2)]
            return sum(ray.get(ray.wait(refs, num_returns=2)[0]))

    assert ray.get(Blocks.remote().blocks.remote(), timeout=60) == 3


def test_a_concurrency_group_limits_coroutines() -> None:
    @ray.remote(concurrency_groups={"io": 2})
    class Grouped:
        def __init__(self) -> None:
            self.inside = self.most = 0

        @ray.method(concurrency_group="io")
        async def enter(self) -> int:
            self.inside += 1
            self.most = max(self.most, self.inside)
            await asyncio.sleep(0.05)
            self.inside -= 1
            return self.most

    grouped = Grouped.remote()
    assert max(ray.get([grouped.enter.remote() for _ in range(6)])) == 2
