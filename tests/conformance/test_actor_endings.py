"""How actors end while more is asked of them, and what is left when they come back."""

from __future__ import annotations

import os
import signal
import uuid
from typing import Any

import pytest
from conformance_module import MODULE, eventually, exceptions, ray

pytestmark = pytest.mark.usefixtures("cluster")


@pytest.fixture
def worker(gate: Any, journal: Any) -> Any:
    """The class of an actor that has been given something."""

    @ray.remote
    class Worker:
        def __init__(self, given: Any = None) -> None:
            self.given = given

        def pid(self) -> int:
            return os.getpid()

        def get(self) -> Any:
            return self.given

        def leave_later(self, how: str) -> None:
            journal.write("running")
            gate.wait()
            if how == "exit_actor":
                ray.actor.exit_actor()
            os._exit(1)

        def leave(self) -> None:
            import atexit

            atexit.register(journal.write, "farewell")
            ray.actor.exit_actor()

    return Worker


def assert_dead(ref: Any) -> None:
    with pytest.raises(exceptions.ActorDiedError):
        ray.get(ref, timeout=60)


def is_missing(name: str) -> bool:
    try:
        ray.get_actor(name)
    except ValueError:
        return True
    return False


def kill_process(actor: Any) -> None:
    """The way in which the kernel ends a process that has too much memory."""
    os.kill(ray.get(actor.pid.remote(), timeout=60), signal.SIGKILL)


def test_a_method_alone_keeps_its_actor(worker: Any) -> None:
    pid = worker.remote().pid
    first = ray.get(pid.remote())
    assert isinstance(pid, ray.actor.ActorMethod)
    assert [ray.get(pid.remote(), timeout=60) for _ in range(3)] == [first] * 3


@pytest.mark.parametrize("how", ["os._exit", "exit_actor"])
def test_calls_that_are_queued_when_an_actor_ends_itself_fail(
    how: str, worker: Any, gate: Any, journal: Any
) -> None:
    actor = worker.remote()
    running = actor.leave_later.remote(how)
    eventually(journal.read)
    queued = [actor.get.remote() for _ in range(20)]
    gate.open()
    for ref in (running, *queued, actor.get.remote()):
        assert_dead(ref)


def test_what_is_registered_at_exit_is_done_by_exit_actor(worker: Any, journal: Any) -> None:
    assert_dead(worker.remote().leave.remote())
    eventually(lambda: journal.read() == ["farewell"])


def test_a_task_is_no_actor_that_could_exit() -> None:
    @ray.remote
    def leave() -> None:
        ray.actor.exit_actor()

    with pytest.raises(TypeError):
        ray.get(leave.remote(), timeout=60)


@pytest.mark.parametrize("threads", [False, True])
def test_actors_that_do_several_things_at_once_exit_too(threads: bool) -> None:
    class Threads:
        def leave(self) -> None:
            ray.actor.exit_actor()

        def ping(self) -> None: ...

    class Coroutines:
        async def leave(self) -> None:
            ray.actor.exit_actor()

        async def ping(self) -> None: ...

    kind = ray.remote(max_concurrency=2)(Threads) if threads else ray.remote(Coroutines)
    actor = kind.remote()
    ray.get(actor.ping.remote())
    assert_dead(actor.leave.remote())
    assert_dead(actor.ping.remote())


def test_an_actor_begins_again_with_the_arguments_it_was_made_with(worker: Any) -> None:
    import numpy as np

    large = np.arange(300_000)
    for given in (large, ray.put(large), "small"):
        actor = worker.options(max_restarts=1, max_task_retries=-1).remote(given)
        del given
        kill_process(actor)
        again = ray.get(actor.get.remote(), timeout=60)
        assert isinstance(again, str) or (again == large).all()


def test_the_call_in_flight_is_told_whether_the_actor_comes_back(
    worker: Any, gate: Any, journal: Any
) -> None:
    actor = worker.options(max_restarts=1).remote()
    gate.open()
    with pytest.raises(exceptions.ActorUnavailableError):
        ray.get(actor.leave_later.remote("os._exit"), timeout=60)
    ray.get(actor.__ray_ready__.options(max_task_retries=-1).remote(), timeout=60)
    assert_dead(actor.leave_later.remote("os._exit"))


def test_kill_that_allows_a_restart_ends_what_may_not_restart(worker: Any) -> None:
    actor = worker.remote()
    ray.get(actor.pid.remote())
    ray.kill(actor, no_restart=False)
    assert_dead(actor.pid.remote())


def test_an_actor_that_comes_back_has_kept_its_name(worker: Any) -> None:
    name = uuid.uuid4().hex
    options = {"name": name, "max_restarts": 1, "max_task_retries": -1}
    actor = worker.options(**options).remote(3)
    kill_process(actor)
    assert ray.get(ray.get_actor(name).get.remote(), timeout=60) == 3
    with pytest.raises(ValueError, match="already taken"):
        worker.options(**options).remote()


@pytest.mark.skipif(MODULE == "ray", reason="Ray 2.60 frees it when the last handle is gone")
def test_the_name_of_an_actor_that_died_is_free(worker: Any) -> None:
    name = uuid.uuid4().hex
    actor = worker.options(name=name).remote(1)
    kill_process(actor)
    assert_dead(actor.get.remote())
    eventually(lambda: is_missing(name))
    other = worker.options(name=name).remote(2)
    assert ray.get(other.get.remote(), timeout=60) == 2


@pytest.mark.parametrize("how", ["dropped", "__ray_terminate__"])
def test_what_is_registered_at_exit_is_done_by_other_orderly_ends(
    how: str, worker: Any, journal: Any
) -> None:
    @ray.remote
    class Registers:
        def register(self) -> None:
            import atexit

            atexit.register(journal.write, "farewell")

    actor = Registers.remote()
    ray.get(actor.register.remote())
    if how == "__ray_terminate__":
        actor.__ray_terminate__.remote()
    else:
        del actor
    eventually(lambda: journal.read() == ["farewell"], seconds=15.0)
