"""`util`: pools of actors, queues, and the small tools beside them."""

from __future__ import annotations

import asyncio
import queue as standard_queue
import threading
from typing import Any

import pytest
from conformance_module import exceptions, import_submodule, ray

pytestmark = pytest.mark.usefixtures("cluster")

util = import_submodule("util")
queues = import_submodule("util.queue")
ActorPool = util.ActorPool


@pytest.fixture
def worker(gate: Any) -> Any:
    """The class of an actor that doubles, slowly where asked."""

    @ray.remote
    class Worker:
        def double(self, x: int) -> int:
            return 2 * x

        def double_late(self, x: int) -> int:
            if x == 0:
                gate.wait()
            return 2 * x

        def fail(self, x: int) -> int:
            if x == 1:
                raise KeyError(x)
            return x

    return Worker


@pytest.fixture
def pool(worker: Any) -> Any:
    return ActorPool([worker.remote() for _ in range(2)])


def test_map_gives_results_in_order(pool: Any) -> None:
    assert list(pool.map(lambda a, v: a.double.remote(v), range(6))) == [0, 2, 4, 6, 8, 10]


def test_map_unordered_gives_what_is_done_first(pool: Any, gate: Any) -> None:
    results = pool.map_unordered(lambda a, v: a.double_late.remote(v), range(4))
    first = [next(results) for _ in range(3)]
    assert sorted(first) == [2, 4, 6]
    gate.open()
    assert list(results) == [0]


def test_submit_and_get_next(pool: Any) -> None:
    assert not pool.has_next()
    assert pool.has_free()
    for i in range(4):
        pool.submit(lambda a, v: a.double.remote(v), i)
    assert pool.has_next()
    assert not pool.has_free()
    assert [pool.get_next() for _ in range(4)] == [0, 2, 4, 6]
    with pytest.raises(StopIteration):
        pool.get_next()


def test_get_next_times_out(pool: Any) -> None:
    pool.submit(lambda a, v: a.double_late.remote(v), 0)
    with pytest.raises(TimeoutError):
        pool.get_next(timeout=0.1)
    with pytest.raises(TimeoutError):
        pool.get_next_unordered(timeout=0.1)


def test_an_idle_actor_can_be_taken_out_and_put_back(pool: Any, worker: Any) -> None:
    one, two = pool.pop_idle(), pool.pop_idle()
    assert pool.pop_idle() is None
    assert one != two
    pool.push(one)
    with pytest.raises(ValueError):
        pool.push(one)
    pool.push(worker.remote())
    assert list(pool.map(lambda a, v: a.double.remote(v), [1, 2, 3])) == [2, 4, 6]


def test_an_error_surfaces_at_its_result_and_the_pool_goes_on(pool: Any) -> None:
    for i in range(3):
        pool.submit(lambda a, v: a.fail.remote(v), i)
    assert pool.get_next() == 0
    with pytest.raises(KeyError):
        pool.get_next()
    assert pool.get_next() == 2


@pytest.fixture
def queue() -> Any:
    queue = queues.Queue(maxsize=3)
    yield queue
    queue.shutdown(force=True)


def test_a_queue_keeps_order_and_counts(queue: Any) -> None:
    assert queue.empty()
    for i in range(3):
        queue.put(i)
    assert queue.full()
    assert len(queue) == queue.qsize() == queue.size() == 3
    assert [queue.get() for _ in range(3)] == [0, 1, 2]
    assert queue.empty()


def test_without_blocking_full_and_empty_are_raised(queue: Any) -> None:
    for error in (queues.Empty, standard_queue.Empty):
        with pytest.raises(error):
            queue.get_nowait()
    with pytest.raises(queues.Empty):
        queue.get(block=False)
    queue.put_nowait_batch([1, 2, 3])
    for error in (queues.Full, standard_queue.Full):
        with pytest.raises(error):
            queue.put_nowait(4)
    with pytest.raises(queues.Full):
        queue.put(4, block=False)


def test_timeouts_end_in_full_and_empty(queue: Any) -> None:
    with pytest.raises(queues.Empty):
        queue.get(timeout=0.1)
    queue.put_nowait_batch([1, 2, 3])
    with pytest.raises(queues.Full):
        queue.put(4, timeout=0.1)
    for call in (queue.get, lambda timeout: queue.put(1, timeout=timeout)):
        with pytest.raises(ValueError):
            call(timeout=-1)


def test_a_batch_goes_in_whole_or_not_at_all(queue: Any) -> None:
    queue.put(1)
    with pytest.raises(queues.Full):
        queue.put_nowait_batch([2, 3, 4])
    assert queue.qsize() == 1
    queue.put_nowait_batch([2, 3])
    assert queue.get_nowait_batch(2) == [1, 2]
    with pytest.raises(queues.Empty):
        queue.get_nowait_batch(2)


def test_a_queue_joins_tasks_and_blocks_until_there_is_work(queue: Any) -> None:
    @ray.remote
    def consume(queue: Any, count: int) -> list[int]:
        return [queue.get(block=True) for _ in range(count)]

    refs = [consume.remote(queue, 5) for _ in range(2)]
    for i in range(10):
        queue.put(i)
    assert sorted(i for taken in ray.get(refs) for i in taken) == list(range(10))


def test_a_blocked_put_goes_on_when_there_is_room(queue: Any) -> None:
    queue.put_nowait_batch([1, 2, 3])
    thread = threading.Thread(target=queue.put, args=(4,))
    thread.start()
    assert queue.get() == 1
    thread.join(timeout=30)
    assert [queue.get() for _ in range(3)] == [2, 3, 4]


def test_a_queue_can_be_awaited(queue: Any) -> None:
    async def main() -> list[int]:
        await queue.put_async(1)
        await queue.put_async(2)
        return [await queue.get_async(), await queue.get_async()]

    assert asyncio.run(main()) == [1, 2]


def test_a_queue_that_is_shut_down_is_gone() -> None:
    queue = queues.Queue()
    queue.put(1)
    queue.shutdown()
    with pytest.raises(Exception) as caught:
        queue.actor.qsize.remote() if queue.actor else queue.get()
    assert not isinstance(caught.value, exceptions.GetTimeoutError)


def test_as_completed_and_map_unordered_give_values() -> None:
    @ray.remote
    def double(x: int) -> int:
        return 2 * x

    assert sorted(util.as_completed([double.remote(i) for i in range(4)])) == [0, 2, 4, 6]
    assert sorted(util.map_unordered(double, range(4))) == [0, 2, 4, 6]


def test_inspect_serializability_names_the_culprit() -> None:
    lock = threading.Lock()

    def holds() -> Any:
        return lock

    good, failures = util.inspect_serializability(lambda: 1)
    assert (good, failures) == (True, set())
    good, failures = util.inspect_serializability(holds, name="holds")
    assert not good
    assert any(failure.obj is lock for failure in failures)


def test_a_registered_serializer_is_used() -> None:
    class Secret:
        def __init__(self, value: int) -> None:
            self.value, self.lock = value, threading.Lock()

    @ray.remote
    def open_up(secret: Any) -> int:
        return secret.value

    util.register_serializer(Secret, serializer=lambda s: s.value, deserializer=Secret)
    assert ray.get(ray.put(Secret(3))).value == 3
    assert ray.get(open_up.remote(Secret(4))) == 4
    util.deregister_serializer(Secret)
    with pytest.raises(TypeError):
        ray.put(Secret(5))


def test_small_tools_answer() -> None:
    assert util.get_node_ip_address() == ray.nodes()[0]["NodeManagerAddress"]
    assert util.log_once("a key of this test")
    assert not util.log_once("a key of this test")


def test_marks_of_stability_leave_things_as_they_are() -> None:
    annotations = import_submodule("util.annotations")

    @annotations.PublicAPI(stability="beta")
    def double(x: int) -> int:
        """Twice as much."""
        return 2 * x

    @annotations.DeveloperAPI
    class Box:
        """Holds a value."""

        def __init__(self, value: int) -> None:
            self.value = value

    @annotations.Deprecated(message="Use double.", warning=True)
    def twice(x: int) -> int:
        return 2 * x

    assert double(4) == 8
    assert "Twice as much." in (double.__doc__ or "")
    assert Box(3).value == 3
    with pytest.warns(annotations.RayDeprecationWarning, match=r"Use double\."):
        assert twice(2) == 4
    assert ray.get(ray.remote(double).remote(4)) == 8
