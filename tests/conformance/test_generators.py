"""Tasks and methods that yield: streams of refs, back-pressure, errors in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from conformance_module import eventually, exceptions, ray

pytestmark = pytest.mark.usefixtures("cluster")


@pytest.fixture
def count() -> Any:
    """A remote generator of the numbers below n."""

    @ray.remote
    def count(n: int) -> Iterator[int]:
        for i in range(n):  # noqa: UP028 (Ray 2.60 cannot stream a `yield from` over a range)
            yield i

    return count


def test_a_generator_gives_a_stream_of_refs(count: Any) -> None:
    stream = count.remote(4)
    assert isinstance(stream, ray.ObjectRefGenerator)
    assert [ray.get(ref) for ref in stream] == [0, 1, 2, 3]
    with pytest.raises(StopIteration):
        next(stream)


def test_an_empty_generator_gives_an_empty_stream(count: Any) -> None:
    assert list(count.remote(0)) == []


def test_items_can_be_read_before_the_task_ends(gate: Any) -> None:
    @ray.remote
    def early() -> Iterator[str]:
        yield "before"
        gate.wait()
        yield "after"

    stream = early.remote()
    assert ray.get(next(stream)) == "before"
    gate.open()
    assert [ray.get(ref) for ref in stream] == ["after"]


@pytest.mark.parametrize("declared", [True, False])
def test_backpressure_lets_the_producer_run_only_so_far_ahead(journal: Any, declared: bool) -> None:
    def produce() -> Iterator[int]:
        for i in range(6):
            journal.write(i)
            yield i

    limit: dict[str, Any] = {"_generator_backpressure_num_objects": 2}
    if declared:
        stream = ray.remote(**limit)(produce).remote()
    else:
        stream = ray.remote(produce).options(**limit).remote()
    eventually(lambda: len(journal.read()) == 2)
    assert ray.get(next(stream)) == 0
    eventually(lambda: len(journal.read()) >= 3)
    assert len(journal.read()) <= 4
    assert [ray.get(ref) for ref in stream] == [1, 2, 3, 4, 5]


def test_backpressure_of_zero_is_refused(count: Any) -> None:
    with pytest.raises(ValueError, match="_generator_backpressure_num_objects"):
        count.options(_generator_backpressure_num_objects=0).remote(1)


def test_streaming_is_only_for_generators() -> None:
    def plain() -> int:
        return 1

    with pytest.raises(ValueError, match="generator"):
        ray.remote(num_returns="streaming")(plain)


def test_after_an_error_in_the_middle_the_stream_ends() -> None:
    @ray.remote
    def breaks() -> Iterator[int]:
        yield 1
        raise KeyError("middle")

    stream = breaks.remote()
    assert ray.get(next(stream)) == 1
    with pytest.raises(KeyError, match="middle"):
        ray.get(next(stream))
    with pytest.raises(StopIteration):
        next(stream)
    assert ray.get(stream.completed()) is None


def test_completed_next_ready_and_is_finished_tell_how_far_it_is(gate: Any) -> None:
    @ray.remote
    def two() -> Iterator[int]:
        yield 1
        gate.wait()
        yield 2

    stream = two.remote()
    ray.wait([stream], timeout=30.0)
    assert stream.next_ready()
    assert not stream.is_finished()
    next(stream)
    assert not stream.next_ready()
    gate.open()
    assert ray.get(stream.completed()) is None
    list(stream)
    assert stream.is_finished()


def test_wait_takes_generators_beside_refs(gate: Any, count: Any) -> None:
    @ray.remote
    def late() -> Iterator[int]:
        gate.wait()
        yield 1

    blocked, quick, ref = late.remote(), count.remote(1), ray.put(1)
    ready, rest = ray.wait([blocked, quick, ref], num_returns=2, timeout=30.0)
    assert ready == [quick, ref]
    assert rest == [blocked]


def test_a_generator_is_no_ref(count: Any) -> None:
    @ray.remote
    def take(value: Any) -> None: ...

    stream = count.remote(1)
    assert ray.get(stream) is stream
    with pytest.raises(TypeError):
        ray.get([stream])
    with pytest.raises(TypeError):
        take.remote(stream)
    for name in ("send", "throw", "close"):
        with pytest.raises(NotImplementedError):
            getattr(stream, name)(*[ValueError()] * (name != "close"))


def test_async_for_works_on_the_driver(count: Any) -> None:
    async def collect() -> list[int]:
        return [await ref async for ref in count.remote(4)]

    assert asyncio.run(collect()) == [0, 1, 2, 3]


def test_actor_methods_stream_too() -> None:
    @ray.remote
    class Source:
        def plain(self, n: int) -> Iterator[int]:
            for i in range(n):  # noqa: UP028
                yield i

    source = Source.remote()
    assert [ray.get(ref) for ref in source.plain.remote(3)] == [0, 1, 2]


def test_async_generators_stream_from_actors_only() -> None:
    async def numbers(n: int) -> AsyncIterator[int]:
        for i in range(n):
            yield i

    @ray.remote
    class Source:
        async def numbers(self, n: int) -> AsyncIterator[int]:
            for i in range(n):
                yield i

    assert [ray.get(ref) for ref in Source.remote().numbers.remote(3)] == [0, 1, 2]
    with pytest.raises((ValueError, TypeError)):
        ray.get(next(ray.remote(numbers).remote(3)))


def test_a_fixed_number_of_returns_takes_the_yielded_values(count: Any) -> None:
    assert ray.get(count.options(num_returns=3).remote(3)) == [0, 1, 2]
    assert ray.get(count.options(num_returns=2).remote(5)) == [0, 1]


def test_too_few_yielded_values_fail_the_refs_without_one(count: Any) -> None:
    *given, missing = count.options(num_returns=3).remote(2)
    assert ray.get(given) == [0, 1]
    with pytest.raises(ValueError, match="num_returns=3"):
        ray.get(missing)


@pytest.mark.filterwarnings("ignore")
def test_dynamic_returns_come_in_one_ref(count: Any) -> None:
    ref = count.options(num_returns="dynamic").remote(3)
    assert isinstance(ref, ray.ObjectRef)
    refs = ray.get(ref)
    assert isinstance(refs, ray.DynamicObjectRefGenerator)
    assert len(refs) == 3
    assert [ray.get(each) for each in refs] == [0, 1, 2]


def test_a_stream_is_read_inside_a_task(count: Any) -> None:
    @ray.remote
    def total(n: int) -> int:
        return sum(ray.get(ref) for ref in count.remote(n))

    assert ray.get(total.remote(5)) == 10


def test_large_items_stream_as_well() -> None:
    import numpy as np

    @ray.remote
    def arrays() -> Iterator[Any]:
        for i in range(3):
            yield np.full(200_000, i)

    assert [int(ray.get(ref)[-1]) for ref in arrays.remote()] == [0, 1, 2]


def test_a_crash_of_the_producer_shows_at_the_next_item() -> None:
    @ray.remote(max_retries=0)
    def dies() -> Iterator[int]:
        import os

        yield 1
        os._exit(1)

    stream = dies.remote()
    with pytest.raises(exceptions.RayError):
        for ref in stream:
            ray.get(ref)


def test_without_a_limit_the_producer_runs_to_its_end(journal: Any) -> None:
    @ray.remote(_generator_backpressure_num_objects=-1)
    def produce() -> Iterator[int]:
        for i in range(6):
            journal.write(i)
            yield i

    stream = produce.remote()
    eventually(lambda: len(journal.read()) == 6)
    assert [ray.get(ref) for ref in stream] == list(range(6))


def test_an_async_generator_that_breaks_ends_its_stream_and_not_its_actor() -> None:
    @ray.remote
    class Source:
        async def breaks(self) -> AsyncIterator[int]:
            yield 1
            await asyncio.sleep(0)
            raise KeyError("middle")

    source = Source.remote()
    for _ in range(2):
        stream = source.breaks.remote()
        assert ray.get(next(stream)) == 1
        with pytest.raises(KeyError, match="middle"):
            ray.get(next(stream))
        with pytest.raises(StopIteration):
            next(stream)


def test_several_streams_of_an_async_actor_go_on_beside_each_other() -> None:
    @ray.remote
    class Source:
        def __init__(self) -> None:
            self.turn = asyncio.Condition()
            self.done = 0

        async def meet(self, rounds: int) -> AsyncIterator[int]:
            for i in range(1, rounds + 1):
                async with self.turn:
                    self.done += 1
                    self.turn.notify_all()
                    await self.turn.wait_for(lambda i=i: self.done >= 2 * i)
                yield i

    source = Source.remote()
    streams = [source.meet.remote(4) for _ in range(2)]
    assert [[ray.get(ref) for ref in stream] for stream in streams] == [[1, 2, 3, 4]] * 2


def test_a_stream_cannot_be_sent_to(count: Any) -> None:
    async def main() -> None:
        stream = count.remote(1)
        for name, arguments in (("asend", (1,)), ("athrow", (ValueError(),)), ("aclose", ())):
            with pytest.raises(NotImplementedError):
                await getattr(stream, name)(*arguments)

    asyncio.run(main())
