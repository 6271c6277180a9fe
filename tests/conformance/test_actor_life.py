"""How actors end, fail to begin, come back, and go when nobody holds them."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import pytest
from conformance_module import eventually, exceptions, ray

pytestmark = pytest.mark.usefixtures("cluster")


def is_alive(pid: int) -> bool:
    """Whether process `pid` exists and is no zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def mortal(gate: Any, journal: Any) -> Any:
    """The class of an actor that can be brought to its end in many ways."""

    @ray.remote
    class Mortal:
        def __init__(self, *args: Any) -> None:
            journal.write("init")
            self.calls = 0

        def pid(self) -> int:
            return os.getpid()

        def count(self) -> int:
            self.calls += 1
            return self.calls

        def block(self) -> None:
            journal.write("blocked")
            gate.wait()

        def leave(self, how: str) -> None:
            if how == "exit_actor":
                ray.actor.exit_actor()
            elif how == "sys.exit":
                sys.exit(1)
            os._exit(1)

        def reconstructed(self) -> bool:
            return ray.get_runtime_context().was_current_actor_reconstructed

        def die_once(self) -> int:
            journal.write("run")
            if journal.read().count("run") == 1:
                os._exit(1)
            return journal.read().count("run")

    return Mortal


def assert_dead(ref: Any) -> Any:
    with pytest.raises(exceptions.ActorDiedError) as caught:
        ray.get(ref, timeout=60)
    assert isinstance(caught.value, exceptions.RayActorError)
    return caught.value


def test_an_error_in_init_fails_every_call_but_not_as_the_users_class() -> None:
    @ray.remote
    class Stillborn:
        def __init__(self) -> None:
            raise KeyError("stillborn")

        def ping(self) -> None: ...

    actor = Stillborn.remote()
    for ref in (actor.ping.remote(), actor.ping.remote()):
        error = assert_dead(ref)
        assert error.actor_init_failed
        assert not isinstance(error, KeyError)
        assert "stillborn" in str(error)
        assert "Traceback" in str(error) or "__init__" in str(error)


def test_a_failed_argument_of_init_fails_the_actor(mortal: Any) -> None:
    @ray.remote
    def fail() -> None:
        raise KeyError("argument")

    error = assert_dead(mortal.remote(fail.remote()).pid.remote())
    assert error.actor_init_failed


@pytest.mark.parametrize("how", ["os._exit", "sys.exit", "exit_actor"])
def test_an_actor_that_ends_itself_fails_this_call_and_later_ones(how: str, mortal: Any) -> None:
    actor = mortal.remote()
    pid = ray.get(actor.pid.remote())
    assert_dead(actor.leave.remote(how))
    assert_dead(actor.pid.remote())
    eventually(lambda: not is_alive(pid))


def test_kill_fails_the_running_the_queued_and_later_calls(mortal: Any, journal: Any) -> None:
    actor = mortal.remote()
    running, queued = actor.block.remote(), actor.pid.remote()
    eventually(lambda: "blocked" in journal.read())
    ray.kill(actor)
    for ref in (running, queued, actor.pid.remote()):
        assert_dead(ref)


def test_the_error_tells_that_kill_was_called(mortal: Any) -> None:
    actor = mortal.remote()
    ray.get(actor.pid.remote())
    ray.kill(actor)
    error = assert_dead(actor.pid.remote())
    assert "kill" in str(error)
    assert not error.actor_init_failed
    assert error.actor_id == actor._actor_id.hex()


def test_ray_terminate_ends_the_actor_after_what_is_queued(mortal: Any) -> None:
    actor = mortal.remote()
    first = actor.count.remote()
    actor.__ray_terminate__.remote()
    assert ray.get(first) == 1
    assert_dead(actor.count.remote())


def test_kill_of_a_dead_actor_does_nothing_and_of_something_else_is_refused(mortal: Any) -> None:
    actor = mortal.remote()
    ray.kill(actor)
    assert_dead(actor.pid.remote())
    assert ray.kill(actor) is None
    for wrong in (1, ray.put(1), mortal):
        with pytest.raises(ValueError):
            ray.kill(wrong)


def test_exit_actor_is_for_actors_only() -> None:
    with pytest.raises(TypeError):
        ray.actor.exit_actor()


def test_a_dead_process_comes_back_as_often_as_allowed(mortal: Any, journal: Any) -> None:
    actor = mortal.options(max_restarts=1, max_task_retries=-1).remote()
    assert ray.get([actor.count.remote(), actor.count.remote()]) == [1, 2]
    assert not ray.get(actor.reconstructed.remote())
    os.kill(ray.get(actor.pid.remote()), signal.SIGKILL)
    assert ray.get(actor.count.remote()) == 1
    assert ray.get(actor.reconstructed.remote())
    assert journal.read() == ["init", "init"]
    os.kill(ray.get(actor.pid.remote()), signal.SIGKILL)
    assert_dead(actor.count.remote())
    assert journal.read() == ["init", "init"]


def test_the_call_in_flight_fails_when_it_may_not_run_again(mortal: Any) -> None:
    actor = mortal.options(max_restarts=1).remote()
    with pytest.raises(exceptions.RayActorError):
        ray.get(actor.leave.remote("os._exit"), timeout=60)

    def answers() -> bool:
        try:
            return ray.get(actor.count.remote(), timeout=60) >= 1
        except exceptions.ActorUnavailableError:
            return False

    eventually(answers)


def test_the_call_in_flight_runs_again_where_asked(mortal: Any, journal: Any) -> None:
    actor = mortal.options(max_restarts=1, max_task_retries=1).remote()
    assert ray.get(actor.die_once.remote()) == 2
    assert journal.read() == ["init", "run", "init", "run"]


def test_kill_without_no_restart_lets_it_come_back(mortal: Any, journal: Any) -> None:
    actor = mortal.options(max_restarts=1, max_task_retries=-1).remote()
    pid = ray.get(actor.pid.remote())
    ray.kill(actor, no_restart=False)
    eventually(lambda: not is_alive(pid))
    assert ray.get(actor.pid.remote()) != pid
    ray.kill(actor)
    assert_dead(actor.pid.remote())


def test_an_exit_by_choice_is_not_restarted(mortal: Any, journal: Any) -> None:
    actor = mortal.options(max_restarts=-1).remote()
    assert_dead(actor.leave.remote("exit_actor"))
    assert_dead(actor.pid.remote())
    assert journal.read() == ["init"]


def test_an_actor_ends_when_its_last_handle_goes(mortal: Any) -> None:
    actor = mortal.remote()
    pid = ray.get(actor.pid.remote())
    assert is_alive(pid)
    del actor
    eventually(lambda: not is_alive(pid))


def test_queued_calls_finish_after_the_last_handle_is_gone(mortal: Any) -> None:
    actor = mortal.remote()
    refs = [actor.count.remote() for _ in range(50)]
    del actor
    assert ray.get(refs) == list(range(1, 51))
    assert ray.get(mortal.remote().count.remote()) == 1


def test_a_stored_handle_keeps_the_actor(mortal: Any) -> None:
    actor = mortal.remote()
    pid = ray.get(actor.pid.remote())
    stored = ray.put([actor])
    del actor
    with pytest.raises(AssertionError):
        eventually(lambda: not is_alive(pid), seconds=1.0)
    assert ray.get(ray.get(stored)[0].pid.remote()) == pid
    del stored
    eventually(lambda: not is_alive(pid))


def test_a_handle_held_by_another_actor_keeps_the_actor(mortal: Any) -> None:
    @ray.remote
    class Keeper:
        def keep(self, handle: Any) -> int:
            self.handle = handle
            return ray.get(handle.pid.remote())

        def drop(self) -> None:
            del self.handle

        def pid(self) -> int:
            return ray.get(self.handle.pid.remote())

    keeper, actor = Keeper.remote(), mortal.remote()
    pid = ray.get(keeper.keep.remote(actor))
    del actor
    assert ray.get(keeper.pid.remote()) == pid
    ray.get(keeper.drop.remote())
    eventually(lambda: not is_alive(pid))


def test_calls_made_before_the_actor_is_up_wait_for_it(gate: Any) -> None:
    @ray.remote
    class Slow:
        def __init__(self) -> None:
            gate.wait()

        def ping(self) -> str:
            return "pong"

    slow = Slow.remote()
    ref = slow.ping.remote()
    assert ray.wait([ref], timeout=0.1)[0] == []
    gate.open()
    assert ray.get(ref) == "pong"
