"""What is local mode's own: everything runs at once, in the driver's process."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

import ray_on_dask as ray


@pytest.fixture
def local() -> Iterator[None]:
    ray.init(local_mode=True)
    yield
    ray.shutdown()


def test_everything_runs_in_the_drivers_process(local: None) -> None:
    @ray.remote
    class Where:
        def pid(self) -> int:
            return os.getpid()

    assert ray.get(ray.remote(os.getpid).remote()) == os.getpid()
    assert ray.get(Where.remote().pid.remote()) == os.getpid()


def test_a_task_has_run_when_remote_returns(local: None) -> None:
    ran = []
    ray.remote(lambda: ran.append(1)).remote()
    assert ran == [1]


def test_a_generator_runs_as_far_as_it_is_read(local: None) -> None:
    made = []

    @ray.remote
    def endless() -> Iterator[int]:
        while True:
            made.append(len(made))
            yield made[-1]

    refs = endless.remote()
    assert [ray.get(next(refs)) for _ in range(3)] == [0, 1, 2]
    assert made == [0, 1, 2]


def test_what_is_no_ref_is_its_own_value(local: None) -> None:
    """As `get` had it in 2016."""
    assert ray.get(5) == 5
    assert ray.get([1, ray.put(2)]) == [1, 2]


@pytest.mark.parametrize("mode", ["PYTHON_MODE", "LOCAL_MODE"])
def test_the_old_modes_mean_the_same(mode: str) -> None:
    ray.init(driver_mode=getattr(ray, mode))
    assert ray.get(ray.remote(os.getpid).remote()) == os.getpid()
    ray.shutdown()
    assert not ray.is_initialized()


def test_failures_are_listed_and_printed(local: None, capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> None:
        raise KeyError("why")

    ray.remote(broken).remote()
    assert "KeyError: 'why'" in ray.error_info()[0]["message"]
    assert "KeyError: 'why'" in capsys.readouterr().err


def test_the_cluster_is_this_machine(local: None) -> None:
    assert ray.cluster_resources() == ray.available_resources()
    assert [node["Alive"] for node in ray.nodes()] == [True]
    assert ray.timeline() == []
    assert ray.get_gpu_ids() == []


def test_cancelling_does_nothing(local: None) -> None:
    ref = ray.put(1)
    ray.cancel(ref)
    assert ray.get(ref) == 1


def test_an_actor_without_handles_frees_its_name(local: None) -> None:
    @ray.remote
    class Named:
        pass

    actor = Named.options(name="short-lived").remote()
    assert ray.util.list_named_actors() == ["short-lived"]
    del actor
    assert ray.util.list_named_actors() == []


def test_refs_of_another_session_are_refused(local: None) -> None:
    ref = ray.put(1)
    ray.shutdown()
    ray.init(local_mode=True)
    with pytest.raises(ValueError, match="has ended"):
        ray.get(ref)
