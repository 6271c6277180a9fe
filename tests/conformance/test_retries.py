"""What is run again, and how often."""

from __future__ import annotations

import os
from typing import Any

import pytest
from conformance_module import exceptions, ray

pytestmark = pytest.mark.usefixtures("cluster")


def test_a_task_whose_process_dies_runs_again_up_to_three_times(journal: Any) -> None:
    @ray.remote
    def dies() -> None:
        journal.write("run")
        os._exit(1)

    with pytest.raises(exceptions.WorkerCrashedError):
        ray.get(dies.remote())
    assert len(journal.read()) == 4


def test_max_retries_counts_the_runs_after_the_first(journal: Any) -> None:
    @ray.remote(max_retries=1)
    def dies() -> None:
        journal.write("run")
        os._exit(1)

    with pytest.raises(exceptions.WorkerCrashedError):
        ray.get(dies.remote())
    assert len(journal.read()) == 2
    with pytest.raises(exceptions.WorkerCrashedError):
        ray.get(dies.options(max_retries=0).remote())
    assert len(journal.read()) == 3


def test_a_retried_task_gives_the_result_of_the_run_that_ended(journal: Any) -> None:
    @ray.remote(max_retries=-1)
    def third_time() -> int:
        journal.write("run")
        if len(journal.read()) < 3:
            os._exit(1)
        return len(journal.read())

    assert ray.get(third_time.remote()) == 3


@pytest.mark.parametrize(
    ("options", "runs"),
    [
        ({}, 1),
        ({"max_retries": 2, "retry_exceptions": True}, 3),
        ({"retry_exceptions": True}, 4),
        ({"max_retries": 2, "retry_exceptions": [ValueError]}, 3),
        ({"max_retries": 2, "retry_exceptions": [LookupError]}, 1),
        ({"max_retries": 0, "retry_exceptions": True}, 1),
    ],
)
def test_exceptions_are_retried_only_where_asked(
    options: dict[str, Any], runs: int, journal: Any
) -> None:
    def fails() -> None:
        journal.write("run")
        raise ValueError("again")

    task = ray.remote(**options)(fails) if options else ray.remote(fails)
    with pytest.raises(ValueError, match="again"):
        ray.get(task.remote())
    assert len(journal.read()) == runs


def test_an_exception_retried_in_time_does_not_show(journal: Any) -> None:
    @ray.remote(retry_exceptions=True)
    def second_time() -> str:
        journal.write("run")
        if len(journal.read()) == 1:
            raise ValueError("first")
        return "fine"

    assert ray.get(second_time.remote()) == "fine"


def test_an_actor_method_is_retried_where_asked(journal: Any) -> None:
    @ray.remote(max_task_retries=2)
    class Flaky:
        @ray.method(retry_exceptions=True)
        def fails(self) -> None:
            journal.write("marked")
            raise ValueError("again")

        def plain(self) -> None:
            journal.write("plain")
            raise ValueError("once")

    flaky = Flaky.remote()
    with pytest.raises(ValueError, match="again"):
        ray.get(flaky.fails.remote())
    with pytest.raises(ValueError, match="once"):
        ray.get(flaky.plain.remote())
    assert journal.read() == ["marked"] * 3 + ["plain"]
    with pytest.raises(ValueError, match="once"):
        ray.get(flaky.plain.options(max_task_retries=1, retry_exceptions=True).remote())
    assert journal.read().count("plain") == 3


def test_other_tasks_are_untouched_by_a_crash(gate: Any) -> None:
    @ray.remote(max_retries=0)
    def dies() -> None:
        os._exit(1)

    @ray.remote
    def lives(i: int) -> int:
        return i

    refs = [lives.remote(i) for i in range(20)]
    bad = dies.remote()
    refs += [lives.remote(i) for i in range(20, 40)]
    with pytest.raises(exceptions.WorkerCrashedError):
        ray.get(bad)
    assert ray.get(refs) == list(range(40))


def test_methods_are_retried_for_some_exceptions_and_coroutines_too(journal: Any) -> None:
    @ray.remote(max_task_retries=-1)
    class Flaky:
        @ray.method(retry_exceptions=[KeyError])
        async def third_time(self) -> str:
            journal.write("run")
            if len(journal.read()) < 3:
                raise KeyError("again")
            return "fine"

        @ray.method(retry_exceptions=[KeyError])
        async def fails(self) -> None:
            journal.write("failed")
            raise ValueError("not one of these")

        @ray.method(max_task_retries=1, retry_exceptions=True)
        async def once_more(self) -> None:
            journal.write("more")
            raise KeyError("more")

    flaky = Flaky.remote()
    assert ray.get(flaky.third_time.remote(), timeout=60) == "fine"
    with pytest.raises(ValueError, match="not one"):
        ray.get(flaky.fails.remote(), timeout=60)
    with pytest.raises(KeyError, match="more"):
        ray.get(flaky.once_more.remote(), timeout=60)
    assert journal.read() == ["run"] * 3 + ["failed"] + ["more"] * 2
