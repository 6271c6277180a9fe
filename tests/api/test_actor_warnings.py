"""What people are told of actors that cannot go on, and how errors tell how an actor died."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import ray_on_dask


@pytest.fixture(scope="module", name="ray")
def ray_fixture() -> Iterator[Any]:
    ray_on_dask.init(num_cpus=1, include_dashboard=False, driver_mode=ray_on_dask.SILENT_MODE)
    yield ray_on_dask
    ray_on_dask.shutdown()


def until_printed(capfd: pytest.CaptureFixture[str], *words: str) -> str:
    """All that is printed until these words are."""
    text, deadline = "", time.monotonic() + 15
    while not all(word in text for word in words):
        assert time.monotonic() < deadline, text
        text += "".join(capfd.readouterr())
        time.sleep(0.02)
    return text


def test_blocking_in_an_async_actor_is_warned_of_once(
    ray: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    @ray.remote
    def slow(i: int) -> int:
        time.sleep(0.05)
        return i

    @ray.remote
    class Blocking:
        async def once(self, i: int) -> int:
            return int(ray_on_dask.get(slow.remote(i)))

        async def say(self, word: str) -> None:
            print(word)

    blocking = Blocking.remote()
    assert ray.get([blocking.once.remote(i) for i in range(3)]) == [0, 1, 2]
    ray.get(blocking.say.remote("said at last"))
    text = until_printed(capfd, "said at last")
    assert text.count("async actor Blocking blocks in get or wait") == 1


def test_an_actor_that_no_node_can_have_is_warned_of(
    ray: Any, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    @ray.remote(num_cpus=7, resources={"tape": 1})
    class Large:
        pass

    large = Large.remote()
    deadline = time.monotonic() + 15
    while "tape: 1 wanted, 0 on one node" not in caplog.text:
        assert time.monotonic() < deadline, caplog.text
        time.sleep(0.05)
    assert "Large cannot be scheduled" in caplog.text and "CPU: 7 wanted" in caplog.text
    del large


def deaths() -> dict[str, tuple[Callable[[], None], str]]:
    def leave() -> None:
        from ray_on_dask.actor import exit_actor

        exit_actor()

    return {
        "_exit": (lambda: os._exit(7), r"exited with code 7"),
        "exit": (lambda: sys.exit(3), r"sys.exit\(3\) was called"),
        "signal": (lambda: os.kill(os.getpid(), signal.SIGSEGV), r"ended by signal SIGSEGV"),
        "exit_actor": (leave, r"exit_actor\(\) is called"),
    }


@pytest.mark.parametrize("how", ["_exit", "exit", "signal", "exit_actor"])
def test_the_error_says_how_an_actor_died(ray: Any, how: str) -> None:
    @ray.remote(num_cpus=0)
    class Mortal:
        def die(self, way: Callable[[], None]) -> None:
            way()

        def again(self) -> None:
            pass

    way, text = deaths()[how]
    mortal = Mortal.remote()
    with pytest.raises(ray.exceptions.ActorDiedError, match=text):
        ray.get(mortal.die.remote(way))
    with pytest.raises(ray.exceptions.ActorDiedError, match=text):
        ray.get(mortal.again.remote())


def test_while_an_actor_restarts_the_error_says_how_its_process_ended(ray: Any) -> None:
    @ray.remote(num_cpus=0, max_restarts=1)
    class Mortal:
        def die(self) -> None:
            os._exit(9)

        def pid(self) -> int:
            return os.getpid()

    mortal = Mortal.remote()
    pid = ray.get(mortal.pid.remote())
    with pytest.raises(ray.exceptions.ActorUnavailableError) as caught:
        ray.get(mortal.die.remote())
    assert f"its process {pid} exited with code 9" in str(caught.value)
    assert str(caught.value).count("may or may not") == 1
    assert ray.get(mortal.pid.remote()) != pid
