"""`get_runtime_context` in a driver, in tasks and in actors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

import ray_on_dask as ray
from ray_on_dask.ids import ActorID, JobID, NodeID, TaskID
from ray_on_dask.test_utils import SignalActor, wait_for_condition

OF_CLUSTER = ("get_job_id", "get_node_id", "get_session_name", "get_temp_dir", "get_node_labels")


@pytest.fixture(scope="module", autouse=True)
def session() -> Iterator[None]:
    ray.init(
        num_cpus=2, num_gpus=2, resources={"R": 1}, labels={"zone": "a"}, namespace="here",
        include_dashboard=False, log_to_driver=False,
    )  # fmt: skip
    yield
    ray.shutdown()


@pytest.fixture
def ask() -> Any:
    """A remote function that asks for members of the context."""

    @ray.remote
    def ask(*names: str) -> list[Any]:
        context = ray.get_runtime_context()
        found = [getattr(context, name) for name in names]
        return [value() if callable(value) else value for value in found]

    return ask


@pytest.fixture
def asker() -> Any:
    """The class of an actor that does."""

    @ray.remote
    class Asker:
        def __init__(self) -> None:
            self.at_birth = ray.get_runtime_context().get_task_function_name()

        def ask(self, *names: str) -> list[Any]:
            context = ray.get_runtime_context()
            found = [getattr(context, name) for name in names]
            return [value() if callable(value) else value for value in found]

        def born_in(self) -> str | None:
            return self.at_birth

        def end(self) -> None:
            import os

            os._exit(1)

    return Asker


def test_a_driver_runs_no_task() -> None:
    context = ray.get_runtime_context()
    for name in ("task_id", "task_name", "task_function_name", "actor_id", "actor_name"):
        assert getattr(context, f"get_{name}")() is None
    assert context.get_placement_group_id() is None
    assert context.should_capture_child_tasks_in_placement_group is False
    assert set(context.get_accelerator_ids()) >= {"GPU", "TPU"}
    assert not any(context.get_accelerator_ids().values())
    for name, error in (
        ("is_canceled", RuntimeError), ("current_actor", RuntimeError),
        ("get_assigned_resources", AssertionError),
        ("was_current_actor_reconstructed", AssertionError),
    ):  # fmt: skip
        with pytest.raises(error):
            value = getattr(context, name)
            value()


def test_ids_have_the_lengths_that_ray_gives_them(ask: Any) -> None:
    names = ("get_job_id", "get_node_id", "get_worker_id", "get_task_id")
    assert [len(id) for id in ray.get(ask.remote(*names))] == [8, 56, 56, 48]
    assert ray.get_runtime_context().get_job_id() == "01000000"


def test_driver_and_tasks_agree_on_the_session(ask: Any) -> None:
    context = ray.get_runtime_context()
    names = (*OF_CLUSTER, "namespace", "gcs_address")
    mine = [getattr(context, name) for name in names]
    assert ray.get(ask.remote(*names)) == [v() if callable(v) else v for v in mine]
    assert context.namespace == "here"
    assert re.fullmatch(r"[\d.]+:\d+", context.gcs_address)
    assert context.get_node_labels() == {"zone": "a", "ray.io/node-id": context.get_node_id()}
    assert context.get_session_name().startswith("session_")


def test_a_task_knows_its_name_and_function(ask: Any) -> None:
    names = ("get_task_name", "get_task_function_name")
    name, function = ray.get(ask.remote(*names))
    assert name == "ask"
    assert function.endswith(".ask")
    assert ray.get(ask.options(name="special").remote(*names)) == ["special", function]
    ref = ask.remote("get_task_id")
    assert ray.get(ref) == [ref.task_id().hex()]


def test_a_task_knows_what_it_holds(ask: Any) -> None:
    names = ("get_assigned_resources", "get_accelerator_ids")
    options = {"num_cpus": 0.5, "num_gpus": 1, "resources": {"R": 0.25}}
    held, accelerators = ray.get(ask.options(**options).remote(*names))
    assert held == {"CPU": 0.5, "GPU": 1.0, "R": 0.25}
    assert accelerators["GPU"] in (["0"], ["1"])


def test_a_task_knows_its_runtime_environment(ask: Any) -> None:
    names = ("get_runtime_env_string", "runtime_env")
    assert ray.get(ask.remote(*names)) == ["{}", {}]
    ref = ask.options(runtime_env={"env_vars": {"A": "b"}}).remote("runtime_env")
    assert ray.get(ref) == [{"env_vars": {"A": "b"}}]


def test_an_actor_knows_itself(asker: Any) -> None:
    actor = asker.options(name="somebody").remote()
    names = ("get_actor_id", "get_actor_name", "get_task_name", "get_assigned_resources")
    assert ray.get(actor.ask.remote(*names)) == [
        actor._actor_id.hex(), "somebody", "Asker.ask", {},
    ]  # fmt: skip
    current, again = ray.get(actor.ask.remote("current_actor", "was_current_actor_reconstructed"))
    assert current == actor
    assert again is False
    assert ray.get(actor.born_in.remote()).endswith("Asker.__init__")
    assert ray.get(asker.remote().ask.remote("get_actor_name")) == [""]


def test_a_restarted_actor_knows_that_it_was(asker: Any) -> None:
    actor = asker.options(max_restarts=1, max_task_retries=-1).remote()
    actor.end.options(max_task_retries=0).remote()
    assert ray.get(actor.ask.remote("was_current_actor_reconstructed"), timeout=60) == [True]


def test_calls_that_overlap_have_ids_of_their_own() -> None:
    """In threads and in coroutines, what runs is not what the main thread was last told."""

    class Overlapping:
        def __init__(self, signal: Any):
            self.signal = signal

        def plain(self) -> str | None:
            ray.get(self.signal.wait.remote())
            return ray.get_runtime_context().get_task_id()

    class Async(Overlapping):
        async def plain(self) -> str | None:  # type: ignore[override]
            await self.signal.wait.remote()
            return ray.get_runtime_context().get_task_id()

    for cls, options in ((Overlapping, {"max_concurrency": 2}), (Async, {"num_cpus": 0})):
        signal = SignalActor.remote()
        actor = ray.remote(cls).options(**options).remote(signal)
        refs = [actor.plain.remote() for _ in range(2)]
        wait_for_condition(lambda s=signal: ray.get(s.cur_num_waiters.remote()) == 2)
        signal.send.remote()
        assert ray.get(refs) == [ref.task_id().hex() for ref in refs]


def test_a_call_that_was_cancelled_is_told_so() -> None:
    @ray.remote(max_concurrency=2)
    class Patient:
        def work(self, signal: Any) -> None:
            import time

            ray.get(signal.wait.remote())
            while not ray.get_runtime_context().is_canceled():
                time.sleep(0.01)
            self.told = True

        def was_told(self) -> bool:
            return getattr(self, "told", False)

    signal = SignalActor.remote()
    actor = Patient.remote()
    ref = actor.work.remote(signal)
    wait_for_condition(lambda: ray.get(signal.cur_num_waiters.remote()) == 1)
    ray.cancel(ref, recursive=False)  # else what it waits for is cancelled too
    signal.send.remote()
    with pytest.raises(ray.exceptions.TaskCancelledError):
        ray.get(ref, timeout=30)
    wait_for_condition(lambda: ray.get(actor.was_told.remote()))


def test_asynchronous_actors_cannot_ask_whether_they_are_cancelled() -> None:
    @ray.remote
    class Async:
        async def ask(self) -> bool:
            return ray.get_runtime_context().is_canceled()

    with pytest.raises(RuntimeError, match="async actor"):
        ray.get(Async.remote().ask.remote())


def test_the_deprecated_members_warn_and_answer() -> None:
    context = ray.get_runtime_context()
    with pytest.warns(DeprecationWarning):
        assert context.job_id == JobID.from_int(1)
    with pytest.warns(DeprecationWarning):
        assert context.node_id == NodeID.from_hex(context.get_node_id())
    with pytest.warns(DeprecationWarning):
        assert context.current_placement_group_id.is_nil()
    with pytest.warns(DeprecationWarning):
        assert set(context.get()) == {"job_id", "node_id", "namespace"}
    with pytest.warns(DeprecationWarning), pytest.raises(AssertionError):
        _ = context.task_id


def test_in_an_actor_they_answer_too(asker: Any) -> None:
    facts, task, actor = ray.get(asker.remote().ask.remote("get", "task_id", "actor_id"))
    assert set(facts) == {"job_id", "node_id", "namespace", "task_id", "actor_id"}
    assert facts["task_id"] == task and isinstance(task, TaskID)
    assert facts["actor_id"] == actor and isinstance(actor, ActorID)
