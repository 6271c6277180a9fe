"""A stream of short tasks without end keeps nobody out."""

from __future__ import annotations

import threading
from time import monotonic

import pytest

pytestmark = pytest.mark.chaos

#: Seconds in which everybody else must be served.
LIMIT = 2.0

STREAM = """
@ray.remote
def short():
    pass

ray.get(short.remote())
ready()
while True:
    ray.get([short.remote() for _ in range(1000)])
"""


@pytest.fixture
def stream(ray):
    """Threads of this driver that keep every CPU busy with short tasks of one class."""

    @ray.remote
    def short():
        pass

    stop = threading.Event()
    rounds = threading.Semaphore(0)

    def run():
        while not stop.is_set():
            ray.get([short.remote() for _ in range(1000)])
            rounds.release()

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(4):
        assert rounds.acquire(timeout=20)
    yield rounds
    stop.set()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive(), "the stream has dried up"


def served_within(limit, ray, ref):
    start = monotonic()
    value = ray.get(ref, timeout=20)
    assert monotonic() - start < limit
    return value


@pytest.mark.parametrize("cpus", [1, 2, 0.5])
def test_a_task_of_another_class_is_served(ray, stream, cpus):
    @ray.remote(num_cpus=cpus, max_retries=7, runtime_env={"env_vars": {"A": "1"}})
    def other():
        return "served"

    # The environment variable makes it start an interpreter, which is not what is measured.
    assert ray.get(other.remote(), timeout=20) == "served"
    assert served_within(LIMIT, ray, other.remote()) == "served"


def test_an_actor_is_made(ray, stream):
    @ray.remote(num_cpus=1)
    class Actor:
        def call(self):
            return "served"

    actor = Actor.remote()
    assert served_within(LIMIT, ray, actor.call.remote()) == "served"
    ray.kill(actor)


def test_an_actor_that_uses_every_cpu_is_made(ray, stream):
    @ray.remote(num_cpus=2)
    class Actor:
        def call(self):
            return "served"

    actor = Actor.remote()
    assert served_within(2 * LIMIT, ray, actor.call.remote()) == "served"
    ray.kill(actor)


def test_two_other_classes_are_served_side_by_side(ray, stream):
    @ray.remote
    def one():
        return 1

    two = one.options(num_cpus=1.5)
    refs = [one.options(num_cpus=0.7).remote(), two.remote()]
    assert served_within(2 * LIMIT, ray, refs) == [1, 1]


def test_the_stream_goes_on_when_others_have_been_served(ray, stream):
    @ray.remote(num_cpus=2)
    def other():
        return 1

    assert served_within(LIMIT, ray, other.remote()) == 1
    while stream.acquire(blocking=False):
        pass
    assert stream.acquire(timeout=LIMIT)


def test_a_task_that_a_task_launches_is_served(ray, stream):
    @ray.remote(num_cpus=1)
    def child():
        return "served"

    @ray.remote(num_cpus=0.5)
    def parent():
        return ray.get(child.remote())

    assert served_within(2 * LIMIT, ray, parent.remote()) == "served"


def test_a_second_driver_is_served_while_the_first_streams(ray_session, start_driver):
    """Its task, its task of another class, and its actor."""
    driver = start_driver(STREAM)
    ray = ray_session(address=driver.facts["address"], num_cpus=None)

    @ray.remote
    def task():
        return "served"

    @ray.remote(num_cpus=1)
    class Actor:
        def call(self):
            return "served"

    assert served_within(LIMIT, ray, task.remote()) == "served"
    assert served_within(LIMIT, ray, task.options(num_cpus=2).remote()) == "served"
    assert served_within(LIMIT, ray, Actor.remote().call.remote()) == "served"
    ray.shutdown()
