"""Cancelling tasks, actor calls and generators."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from conformance_module import MODULE, eventually, exceptions, ray

pytestmark = pytest.mark.usefixtures("cluster")


def assert_cancelled(ref: Any) -> str:
    """The text of the error with which `ref` fails."""
    with pytest.raises(exceptions.TaskCancelledError) as caught:
        ray.get(ref, timeout=60)
    return str(caught.value)


def spinning(journal: Any, gate: Any) -> Any:
    """A remote function that notes its start and works until the gate opens."""

    @ray.remote
    def spin() -> str:
        journal.write("start")
        gate.wait()
        journal.write("end")
        return "end"

    return spin


def test_a_task_that_waits_for_resources_is_cancelled_and_never_runs(
    gate: Any, journal: Any
) -> None:
    @ray.remote(num_cpus=4)
    def holds() -> None:
        gate.wait()

    holder = holds.remote()
    waiting = spinning(journal, gate).remote()
    ray.cancel(waiting)
    assert_cancelled(waiting)
    gate.open()
    ray.get(holder)
    assert journal.read() == []


@pytest.mark.skipif(
    MODULE == "ray", reason="Ray 2.60's driver dies when the argument comes at last"
)
def test_a_task_that_waits_for_an_argument_is_cancelled_and_never_runs(
    gate: Any, journal: Any
) -> None:
    @ray.remote
    def slow() -> int:
        gate.wait()
        return 1

    @ray.remote
    def consume(value: int) -> None:
        journal.write("ran")

    argument = slow.remote()
    consumer = consume.remote(argument)
    ray.cancel(consumer)
    assert_cancelled(consumer)
    gate.open()
    assert ray.get(argument) == 1
    assert journal.read() == []


def test_a_running_task_is_interrupted_and_not_run_again(gate: Any, journal: Any) -> None:
    ref = spinning(journal, gate).options(max_retries=3).remote()
    eventually(journal.read)
    ray.cancel(ref)
    assert_cancelled(ref)
    assert journal.read() == ["start"]


def test_a_task_sees_its_cancellation_as_a_keyboard_interrupt(gate: Any, journal: Any) -> None:
    @ray.remote
    def stubborn() -> str:
        try:
            journal.write("start")
            gate.wait()
        except KeyboardInterrupt:
            return "kept on"
        return "undisturbed"

    ref = stubborn.remote()
    eventually(journal.read)
    ray.cancel(ref)
    assert ray.get(ref) == "kept on"


def test_force_kills_a_task_that_takes_no_interrupt(gate: Any, journal: Any) -> None:
    @ray.remote
    def deaf() -> None:
        journal.write("start")
        while True:
            try:
                gate.wait()
                return
            except KeyboardInterrupt:
                pass

    ref = deaf.remote()
    eventually(journal.read)
    ray.cancel(ref, force=True)
    with pytest.raises((exceptions.TaskCancelledError, exceptions.WorkerCrashedError)):
        ray.get(ref, timeout=60)


def test_the_worker_of_a_cancelled_task_serves_the_next_one(gate: Any, journal: Any) -> None:
    spin = spinning(journal, gate)
    refs = [spin.remote() for _ in range(4)]
    eventually(lambda: len(journal.read()) == 4)
    for ref in refs:
        ray.cancel(ref)
    for ref in refs:
        assert_cancelled(ref)
    gate.open()
    assert ray.get([spin.remote() for _ in range(8)]) == ["end"] * 8


def test_cancelling_what_is_finished_or_put_changes_nothing() -> None:
    @ray.remote
    def one() -> int:
        return 1

    done, stored = one.remote(), ray.put(2)
    ray.get(done)
    assert ray.cancel(done) is None
    assert ray.cancel(stored) is None
    assert ray.get([done, stored]) == [1, 2]


def test_only_refs_can_be_cancelled() -> None:
    for wrong in (1, "ref", None, [ray.put(1)]):
        with pytest.raises(TypeError):
            ray.cancel(wrong)


def test_cancelling_a_task_cancels_its_children(gate: Any, journal: Any) -> None:
    @ray.remote
    def child() -> None:
        try:
            journal.write("start")
            gate.wait()
        except KeyboardInterrupt:
            journal.write("stopped")
            raise

    @ray.remote
    def parent() -> None:
        ray.get(child.remote())

    ref = parent.remote()
    eventually(journal.read)
    ray.cancel(ref)
    assert_cancelled(ref)
    eventually(lambda: "stopped" in journal.read())


def test_children_go_on_when_not_told_otherwise(gate: Any, journal: Any) -> None:
    spin = spinning(journal, gate)

    @ray.remote
    def parent() -> None:
        ray.get(spin.remote())

    ref = parent.remote()
    eventually(journal.read)
    ray.cancel(ref, recursive=False)
    assert_cancelled(ref)
    gate.open()
    eventually(lambda: journal.read() == ["start", "end"])


def test_a_generator_can_be_cancelled(journal: Any) -> None:
    @ray.remote
    def endless() -> Iterator[int]:
        n = 0
        while True:
            yield n
            n += 1
            time.sleep(0.01)

    stream = endless.remote()
    assert ray.get(next(stream)) == 0
    ray.cancel(stream)
    with pytest.raises(exceptions.TaskCancelledError):
        for ref in stream:
            ray.get(ref)


@pytest.fixture
def actor(gate: Any, journal: Any) -> Any:
    @ray.remote
    class Worker:
        def work(self) -> str:
            journal.write("start")
            gate.wait()
            return "done"

        def cancelled(self) -> bool:
            import time

            journal.write("start")
            while not ray.get_runtime_context().is_canceled():
                time.sleep(0.01)
            journal.write("noticed")
            return True

        def ping(self) -> str:
            return "pong"

    return Worker.remote()


def test_actor_calls_cannot_be_cancelled_by_force(actor: Any) -> None:
    ref = actor.ping.remote()
    with pytest.raises(ValueError, match="force=True is not supported"):
        ray.cancel(ref, force=True)
    assert ray.get(ref) == "pong"


def test_a_queued_actor_call_is_cancelled(actor: Any, gate: Any, journal: Any) -> None:
    """Ray answers only once the running call has ended, and now and then runs the queued one."""
    running, queued = actor.work.remote(), actor.work.remote()
    eventually(journal.read)
    ray.cancel(queued)
    ray.wait([queued], timeout=0.5)
    gate.open()
    assert_cancelled(queued)
    assert ray.get(running) == "done"
    assert ray.get(actor.ping.remote()) == "pong"


def test_a_running_actor_call_is_told_and_its_get_fails(actor: Any, journal: Any) -> None:
    ref = actor.cancelled.remote()
    eventually(journal.read)
    ray.cancel(ref)
    assert_cancelled(ref)
    eventually(lambda: "noticed" in journal.read())
    assert ray.get(actor.ping.remote()) == "pong"


def test_an_async_actor_call_is_cancelled_as_asyncio_does(journal: Any) -> None:
    @ray.remote
    class Sleeper:
        async def sleep(self) -> None:
            import asyncio

            journal.write("start")
            try:
                await asyncio.sleep(600)
            except asyncio.CancelledError:
                journal.write("stopped")
                raise

        async def ping(self) -> str:
            return "pong"

    sleeper = Sleeper.remote()
    ref = sleeper.sleep.remote()
    eventually(journal.read)
    ray.cancel(ref)
    assert_cancelled(ref)
    eventually(lambda: "stopped" in journal.read())
    assert ray.get(sleeper.ping.remote()) == "pong"


def test_a_coroutine_that_does_not_heed_its_cancellation_is_cancelled_for_its_caller() -> None:
    @ray.remote
    class Stubborn:
        def __init__(self) -> None:
            self.begun = self.ended = 0

        async def sleep(self) -> str:
            import asyncio

            self.begun += 1
            try:
                await asyncio.sleep(600)
            except asyncio.CancelledError:
                await asyncio.sleep(0.5)
            self.ended += 1
            return "slept"

        async def counts(self) -> tuple[int, int]:
            return self.begun, self.ended

    stubborn = Stubborn.remote()
    refs = [stubborn.sleep.remote() for _ in range(3)]
    eventually(lambda: ray.get(stubborn.counts.remote()) == (3, 0))
    for ref in refs:
        ray.cancel(ref)
    for ref in refs:
        assert_cancelled(ref)
    eventually(lambda: ray.get(stubborn.counts.remote()) == (3, 3))


def test_a_cancelled_actor_call_is_not_run_again(journal: Any) -> None:
    @ray.remote(max_task_retries=-1)
    class Sleeper:
        @ray.method(retry_exceptions=True)
        async def sleep(self) -> None:
            import asyncio

            journal.write("start")
            await asyncio.sleep(600)

        async def ping(self) -> str:
            return "pong"

    sleeper = Sleeper.remote()
    ref = sleeper.sleep.remote()
    eventually(journal.read)
    ray.cancel(ref)
    assert_cancelled(ref)
    assert ray.get(sleeper.ping.remote()) == "pong"
    assert journal.read() == ["start"]


def test_cancelling_an_actor_call_cancels_its_children(gate: Any, journal: Any) -> None:
    @ray.remote
    def child() -> None:
        try:
            journal.write("start")
            gate.wait()
        except KeyboardInterrupt:
            journal.write("stopped")
            raise

    @ray.remote
    class Parent:
        async def work(self) -> None:
            await child.remote()

    parent = Parent.remote()
    ref = parent.work.remote()
    eventually(journal.read)
    ray.cancel(ref)
    assert_cancelled(ref)
    eventually(lambda: "stopped" in journal.read())


def test_a_stream_of_an_actor_can_be_cancelled() -> None:
    @ray.remote
    class Source:
        async def endless(self) -> AsyncIterator[int]:
            import asyncio

            n = 0
            while True:
                yield n
                n += 1
                await asyncio.sleep(0.01)

        async def ping(self) -> str:
            return "pong"

    source = Source.remote()
    stream = source.endless.remote()
    assert ray.get(next(stream)) == 0
    ray.cancel(stream)
    with pytest.raises(exceptions.TaskCancelledError):
        for ref in stream:
            ray.get(ref)
    assert ray.get(source.ping.remote()) == "pong"


def test_cancelling_a_task_cancels_the_actor_calls_that_it_has_made(journal: Any) -> None:
    @ray.remote
    class Sleeper:
        async def sleep(self) -> None:
            import asyncio

            journal.write("start")
            try:
                await asyncio.sleep(600)
            except asyncio.CancelledError:
                journal.write("stopped")
                raise

    @ray.remote
    def parent(sleeper: Any) -> None:
        ref = sleeper.sleep.remote()
        while not ray.wait([ref], timeout=0.05)[0]:
            pass

    sleeper = Sleeper.remote()
    ref = parent.remote(sleeper)
    eventually(journal.read)
    ray.cancel(ref)
    assert_cancelled(ref)
    eventually(lambda: "stopped" in journal.read(), seconds=15.0)
