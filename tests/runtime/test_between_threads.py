"""Threads that come between two steps of another: each step is held up where they may come.

The main thread of an executor takes its tasks without the lock under which messages are handled;
threads of an actor end their calls as others begin; whoever waits handles what comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from ray_on_dask.ids import PUT_INDEX
from ray_on_dask.runtime import interrupts as interrupts_module, output, shared_serializers
from ray_on_dask.runtime.actor_host import ActorHost
from ray_on_dask.runtime.asking import Asking
from ray_on_dask.runtime.checkpoints import ByInterval
from ray_on_dask.runtime.handing import Handing
from ray_on_dask.runtime.interrupts import Interrupts
from ray_on_dask.runtime.served_leases import ServedLeases
from ray_on_dask.runtime.task_events import Events
from ray_on_dask.wire import messages as m

LIMIT = 10.0


class Line:
    """A line to an owner."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.peer = "owner"
        self.state: Any = None
        self.send = self.sent.append


def task(number: int) -> m.Task:
    return m.Task(bytes([number]) * 16, b"f", m.Value(m.INLINE, b""))


def in_thread(call: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread


# -- leases ----------------------------------------------------------------------------


@pytest.fixture
def executor() -> Any:
    """An executor whose main thread has come out of one task and is not yet in the next."""
    line = Line()
    made = SimpleNamespace(
        line=line, queue=deque(), running=None, running_lease=0, idle=None, retiring="",
        lending=SimpleNamespace(lent=0), reactor=SimpleNamespace(channels=lambda: [line]),
        hub=None, told=[], flushed=[], lock=threading.RLock(),
    )  # fmt: skip
    made.to_hub = made.told.append
    made.flush_results = lambda: made.flushed.append(list(made.served.ending))
    made.nudge = made.send_out = lambda: None
    made.take_queued = lambda wanted: []
    made.served = ServedLeases(made)
    made.served.leases[7] = m.BeginLease(7, "owner", m.SchedulingClass({}))
    return made


def test_a_lease_does_not_end_while_a_task_is_on_its_way_into_the_main_thread(
    executor: Any,
) -> None:
    """Its owner would have the task run elsewhere as well."""
    executor.served.on_end_lease(executor.line, m.EndLease(7))
    assert not executor.told and not executor.line.sent
    assert executor.flushed == [[7]], "its results may go with those of another lease"

    executor.served.end_all()

    assert executor.told == [m.LeaseEnded(7)] and executor.line.sent == [m.LeaseEnded(7)]


def test_a_lease_ends_at_once_while_the_main_thread_waits_for_work(executor: Any) -> None:
    executor.idle = object()

    executor.served.on_end_lease(executor.line, m.EndLease(7))

    assert executor.told == [m.LeaseEnded(7)]


def test_a_lease_ends_at_once_while_a_task_of_another_runs(executor: Any) -> None:
    executor.running, executor.running_lease = task(1), 8

    executor.served.on_end_lease(executor.line, m.EndLease(7))

    assert executor.told == [m.LeaseEnded(7)]


def test_tasks_are_given_back_though_the_main_thread_takes_the_last_one(executor: Any) -> None:
    class Emptied(deque[Any]):
        def __bool__(self) -> bool:
            return True  # so it was when it was looked at

    executor.queue = Emptied([(executor.line, 7, task(1)), (executor.line, 8, task(2))])

    executor.served.on_recall(executor.line, m.Recall(7, 2))

    assert executor.line.sent == [m.GivenBack(7, [task(1).id])]
    assert [item[2] for item in executor.queue] == [task(2)]


# -- cancelling ------------------------------------------------------------------------


def test_a_task_that_begins_as_the_one_before_is_cancelled_goes_on(
    executor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = SimpleNamespace(pthread_kill=lambda thread, number: None, SIGUSR2=0)
    monkeypatch.setattr(interrupts_module, "_signal", fake)
    woken: list[str] = []
    executor.host, executor.main = None, threading.get_ident()
    executor.lending = SimpleNamespace(interrupt=lambda: woken.append("the next one's wait"))
    executor.running, executor.current_task = task(1), task(2).id
    interrupts = Interrupts(executor)

    interrupts.on_cancel(executor.line, m.Cancel(task(1).id, recursive=False))

    with contextlib.suppress(KeyboardInterrupt):
        interrupts.check()
        assert not woken
        return
    pytest.fail("the next task is interrupted")


def test_a_task_that_is_over_before_it_is_cancelled_by_force_takes_no_other_with_it(
    executor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flush_results() -> None:
        executor.running = task(2)

    monkeypatch.setattr(os, "_exit", lambda status: pytest.fail("the process ends"))
    executor.host, executor.running, executor.flush_results = None, task(1), flush_results
    cancel = m.Cancel(task(1).id, force=True, recursive=False)

    Interrupts(executor).on_cancel(executor.line, cancel)

    assert not executor.line.sent


def test_a_cancelled_call_waits_for_who_changes_what_is_held(executor: Any) -> None:
    handing = Handing(executor)
    handing.hold(task(1).id + bytes(4), "owner", [])
    with executor.lock:
        thread = in_thread(lambda: handing.gone(task(1).id))
        thread.join(0.1)
        assert thread.is_alive() and handing
    thread.join(LIMIT)
    assert not handing


# -- actors -----------------------------------------------------------------------------


def host_of(executor: Any, **state: Any) -> Any:
    host = ActorHost.__new__(ActorHost)
    nothing = {"_loop": None, "_threads": None, "_ready": True, "_calls": deque(), "_late": 0}
    vars(host).update({"executor": executor, "_futures": {}, **nothing, **state})
    executor.interrupts = SimpleNamespace(cancelled=set())
    return host


def test_calls_that_come_as_the_actor_is_ready_are_behind_those_before(
    executor: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "title", lambda text: None)
    host = host_of(
        executor, id=b"a", incarnation=0, spec=SimpleNamespace(class_name="A"), _ready=False,
        _calls=deque([(executor.line, task(n)) for n in range(2)]),
    )  # fmt: skip
    threads: list[threading.Thread] = []

    def late() -> None:
        with executor.lock:
            host.on_calls(executor.line, [task(2)])

    class Queue(deque[Any]):
        def append(self, item: Any) -> None:
            super().append(item)
            if not threads:
                threads.append(in_thread(late))
                threads[0].join(0.1)

    executor.queue = Queue()

    host._say_ready(b"")

    threads[0].join(LIMIT)
    assert [item[2] for item in executor.queue] == [task(n) for n in range(3)]


def test_a_call_that_is_cancelled_before_the_actor_is_ready_does_not_run(executor: Any) -> None:
    calls = deque([(executor.line, task(n)) for n in range(3)])
    host = host_of(executor, _ready=False, _calls=calls)

    host.cancel(executor.line, m.Cancel(task(1).id))

    (told,) = executor.line.sent
    assert [(result.task, result.status) for result in told.results] == [(task(1).id, m.CANCELLED)]
    assert [call for _, call in host._calls] == [task(0), task(2)]


def in_loop(executor: Any, story: Callable[[Any, list[Any]], Any]) -> None:
    """Run a coroutine of the test's in the loop of an actor, and note what becomes of its calls."""
    told: list[Any] = []

    async def run(channel: Any, call: m.Task) -> None:
        told.append(call)
        try:
            await asyncio.sleep(LIMIT)
        except asyncio.CancelledError:
            told.append("cancelled")

    async def main() -> None:
        executor.main = threading.get_ident()
        host = host_of(executor, _loop=asyncio.get_running_loop(), _run_async=run)
        await story(host, told)
        for future in host._futures.values():
            future.cancel()

    asyncio.run(asyncio.wait_for(main(), LIMIT))


def test_a_coroutine_is_cancelled_that_is_on_its_way_into_the_loop(executor: Any) -> None:
    async def story(host: Any, told: list[Any]) -> None:
        def other() -> None:
            host.on_calls(executor.line, [task(1)])
            host.cancel(executor.line, m.Cancel(task(1).id, recursive=False))

        in_thread(other).join(LIMIT)
        while told != [task(1), "cancelled"]:
            await asyncio.sleep(0.01)

    in_loop(executor, story)


def test_coroutines_begin_in_order_whichever_thread_has_read_them(executor: Any) -> None:
    async def story(host: Any, told: list[Any]) -> None:
        in_thread(lambda: host.on_calls(executor.line, [task(1)])).join(LIMIT)
        host.on_calls(executor.line, [task(2)])
        while len(told) < 2:
            await asyncio.sleep(0.01)
        host.on_calls(executor.line, [task(3)])
        while len(told) < 3:
            await asyncio.sleep(0.01)
        assert told == [task(1), task(2), task(3)]

    in_loop(executor, story)


def test_of_two_checkpoints_at_once_the_later_state_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from ray_on_dask.runtime import checkpoints

    class Instance:
        n = 0

        def __ray_save__(self) -> int:
            self.n += 1
            n = self.n
            if n == 1:
                time.sleep(0.1)
            return n

    sent: list[bytes] = []
    monkeypatch.setattr(checkpoints, "send", lambda host, data, refs: sent.append(data))
    spec = SimpleNamespace(checkpoint_interval=1, class_name="Instance")
    kept = ByInterval(SimpleNamespace(instance=Instance(), spec=spec))  # type: ignore[arg-type]

    threads = [in_thread(kept.after_call) for _ in range(3)]

    for thread in threads:
        thread.join(LIMIT)
    assert [checkpoints.deserialize(data) for data in sent] == [1, 2, 3]


# -- what is told -------------------------------------------------------------------------


def test_each_task_is_counted_once_though_a_batch_is_sent_meanwhile() -> None:
    told: list[Any] = []
    events = Events(SimpleNamespace(waiting=0, job=1, to_hub=told.append))  # type: ignore[arg-type]
    sending: list[bool] = []

    class Seconds(float):
        def __radd__(self, other: Any) -> float:
            if not sending:
                sending.append(True)
                events.send(1.0, force=True)
            return float(self) + other

    named = m.Task(b"t" * 16, b"f", m.Value(m.INLINE, b""), name="f")
    events.ran(named, 0.0, 1.0, True)
    events.ran(named, 0.0, Seconds(2.0), False)
    events.send(9.0, force=True)

    counts = [batch.counts["f"] for batch in told if batch.counts]
    assert [sum(part) for part in zip(*counts, strict=True)] == [2, 3.0, 1]


def test_a_new_line_is_told_of_serializers_while_another_is_registered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def making(pickled: bytes) -> m.Serializer:
        shared_serializers._told[set] = b"another"
        return m.Serializer(pickled)

    monkeypatch.setattr(shared_serializers, "_told", {dict: b"d", list: b"l"})
    monkeypatch.setattr(shared_serializers, "Serializer", making)
    line = SimpleNamespace(send_all=lambda messages: None, closed=False)
    process: Any = SimpleNamespace(executor_lines=[])

    shared_serializers.introduce(process, line)  # type: ignore[arg-type]

    assert process.executor_lines == [line]


def test_any_number_of_results_may_wait_for_the_directory(executor: Any) -> None:
    """All that come while it is asked: an actor may end thousands of calls in that time."""
    executor.references = SimpleNamespace(fresh=True)
    executor._hub_out = []
    asking, sent = Asking(executor), []

    for number in range(5_000):
        assert not asking.held(functools.partial(sent.append, number))
    asking.on_synced(executor.line, m.Synced(executor.told[0].token))

    assert sent == list(range(5_000)) and not asking.syncing


# -- refs -------------------------------------------------------------------------------------


def test_a_ref_that_is_found_while_it_dies_keeps_its_object(
    ray_session: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray_on_dask.runtime import current
    from ray_on_dask.runtime.object_ref import ObjectRef

    ray = ray_session()
    references = current.require().references

    @ray.remote
    class Owner:
        def make(self) -> list[Any]:
            return [ray.put("a value")]

    owner = Owner.remote()
    box = ray.get(owner.make.remote())
    id = box[0].binary()
    assert id.endswith(PUT_INDEX)
    dying, found, die = threading.Event(), threading.Event(), ObjectRef.__del__

    def slowly(ref: ObjectRef[Any]) -> None:
        if ref._entry.id == id and not dying.is_set():
            dying.set()
            found.wait(LIMIT)
        die(ref)

    monkeypatch.setattr(ObjectRef, "__del__", slowly)
    thread = in_thread(box.clear)
    assert dying.wait(LIMIT)
    again = references.received(id)
    found.set()
    thread.join(LIMIT)

    current.require().tick(time.monotonic())

    assert references.known[id] is again._entry and again._entry.alive
    time.sleep(0.3)
    assert ray.get(again, timeout=LIMIT) == "a value"

    del again
    end = time.monotonic() + LIMIT
    while id in references.known:
        assert time.monotonic() < end, "its end is not noticed"
        current.require().tick(time.monotonic())


# -- the end ------------------------------------------------------------------------------------


def sleeper() -> None:
    """It does not come to its end in a test."""
    time.sleep(60)


def test_futures_of_what_does_not_come_fail_at_the_end_of_the_session(
    ray_session: Callable[..., Any],
) -> None:
    ray = ray_session()
    from ray_on_dask.exceptions import RaySystemError

    future = ray.remote(sleeper).remote().future()

    ray.shutdown()

    assert isinstance(future.exception(LIMIT), RaySystemError)


def test_all_threads_and_coroutines_that_wait_hear_of_the_end_of_the_node(
    ray_session: Callable[..., Any],
) -> None:
    ray = ray_session()
    from ray_on_dask.api import init
    from ray_on_dask.exceptions import LocalRayletDiedError
    from ray_on_dask.runtime import current

    @ray.remote
    def generator() -> Any:
        time.sleep(60)
        yield 1

    ref, values, heard = ray.remote(sleeper).remote(), generator.remote(), []

    def get() -> None:
        with contextlib.suppress(LocalRayletDiedError):
            ray.get(ref)
            return
        heard.append("a thread")

    async def wait() -> None:
        for awaited in (ref, values.__anext__()):
            with contextlib.suppress(LocalRayletDiedError):
                await awaited
                return
            heard.append("a coroutine")

    threads = [in_thread(get) for _ in range(4)] + [in_thread(lambda: asyncio.run(wait()))]
    end = time.monotonic() + LIMIT
    while len(current.process.reactor._followers) < 3:  # type: ignore[union-attr]
        assert time.monotonic() < end
        time.sleep(0.01)

    init._head.process.kill()

    for thread in threads:
        thread.join(LIMIT)
    assert sorted(heard) == ["a coroutine"] * 2 + ["a thread"] * 4
    ray.shutdown()


def test_a_coroutine_that_waits_no_more_is_not_told(
    ray_session: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    ray = ray_session()

    @ray.remote
    def generator() -> Any:
        time.sleep(0.5)
        yield 1

    values = generator.remote()
    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(asyncio.wait_for(values.__anext__(), 0.05))

    assert ray.get(next(values)) == 1
    assert not [record for record in caplog.records if "could not handle" in record.message]
