"""`Queue`, beyond what the conformance tests ask of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ray_on_dask.util.queue import Empty, Full, Queue


@pytest.fixture
def queue(ray: Any) -> Iterator[Queue]:
    queue = Queue(maxsize=2)
    yield queue
    queue.shutdown(force=True)


def test_a_queue_without_a_limit_is_never_full(ray: Any) -> None:
    queue = Queue()
    queue.put_nowait_batch(range(50))
    assert not queue.full()
    assert queue.get_nowait_batch(50) == list(range(50))


def test_without_waiting_the_plain_errors_are_raised(queue: Queue) -> None:
    """They come from the caller's own process, not out of a task."""
    with pytest.raises(Empty) as empty:
        queue.get(block=False)
    queue.put_nowait_batch([1, 2])
    with pytest.raises(Full) as full:
        queue.put(3, block=False)
    assert (type(empty.value), type(full.value)) == (Empty, Full)


def test_what_a_batch_cannot_be_is_refused(queue: Queue) -> None:
    with pytest.raises(TypeError):
        queue.put_nowait_batch(1)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        queue.get_nowait_batch("1")  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        queue.get_nowait_batch(-1)


def test_options_go_to_the_actor(ray: Any) -> None:
    queue = Queue(actor_options={"name": "jobs", "num_cpus": 0})
    queue.put("a")
    assert ray.get(ray.get_actor("jobs").qsize.remote()) == 1
    queue.shutdown()


def test_many_readers_may_wait_at_once(ray: Any, queue: Queue) -> None:
    """More than a plain asynchronous actor serves at a time: they must not keep the writer out."""
    refs = [queue.actor.get.remote(None) for _ in range(1100)]
    for _ in range(len(refs) // 100):
        ray.get([queue.actor.put.remote(1, None) for _ in range(100)])
    assert ray.get(refs) == [1] * len(refs)


def test_a_queue_that_was_shut_down_says_so(ray: Any) -> None:
    queue = Queue()
    queue.shutdown()
    queue.shutdown()
    with pytest.raises(ValueError, match="shut down"):
        queue.get()
