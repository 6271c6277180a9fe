"""Signals, semaphores, conditions and drivers for tests."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from ray_on_dask.test_utils import (
    Semaphore,
    SignalActor,
    run_string_as_driver,
    wait_for_condition,
)


def test_tasks_wait_until_the_signal_is_sent(ray: Any) -> None:
    signal = SignalActor.remote()
    waiting = [signal.wait.remote() for _ in range(3)]
    wait_for_condition(lambda: ray.get(signal.cur_num_waiters.remote()) == 3)
    assert ray.wait(waiting, timeout=0)[0] == []
    ray.get(signal.send.remote())
    assert ray.get(waiting) == [None] * 3
    assert ray.get(signal.cur_num_waiters.remote()) == 0


def test_a_cleared_signal_stops_those_that_come_later(ray: Any) -> None:
    signal = SignalActor.remote()
    early = signal.wait.remote()
    wait_for_condition(lambda: ray.get(signal.cur_num_waiters.remote()) == 1)
    ray.get(signal.send.remote(clear=True))
    ray.get(early)
    late = signal.wait.remote()
    assert ray.wait([late], timeout=0.1)[0] == []
    assert ray.get(signal.wait.remote(should_wait=False)) is None


def test_a_semaphore_lets_one_in_at_a_time(ray: Any) -> None:
    semaphore = Semaphore.remote(value=1)
    ray.get(semaphore.acquire.remote())
    assert ray.get(semaphore.locked.remote())
    second = semaphore.acquire.remote()
    assert ray.wait([second], timeout=0.1)[0] == []
    ray.get(semaphore.release.remote())
    ray.get(second)


def test_a_condition_is_asked_until_it_is_true() -> None:
    asked = []

    def third_time(word: str) -> bool:
        asked.append(word)
        return len(asked) == 3

    wait_for_condition(third_time, retry_interval_ms=1, word="now?")
    assert asked == ["now?"] * 3


def test_a_condition_that_stays_false_fails_with_its_last_error() -> None:
    def broken() -> bool:
        raise KeyError("why")

    with pytest.raises(RuntimeError) as caught:
        wait_for_condition(broken, timeout=0.05, retry_interval_ms=10)
    assert isinstance(caught.value.__cause__, KeyError)
    with pytest.raises(KeyError):
        wait_for_condition(broken, raise_exceptions=True)


def test_a_driver_is_run_as_a_process_of_its_own() -> None:
    assert run_string_as_driver("import os; print(os.environ['X'])", env={"X": "7"}) == "7\n"
    with pytest.raises(subprocess.CalledProcessError) as caught:
        run_string_as_driver("raise SystemExit('no')")
    assert "no" in caught.value.output
