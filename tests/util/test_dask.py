"""Dask collections as refs and back, and Dask graphs as Ray tasks."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from multiprocessing import resource_tracker
from typing import Any

import numpy as np
import pytest

pytest.importorskip("pyarrow")  # Dask's DataFrames need it
pandas = pytest.importorskip("pandas")

import dask  # noqa: E402
import dask.array as da  # noqa: E402
import dask.bag as db  # noqa: E402
import dask.dataframe as dd  # noqa: E402
from distributed import Client, LocalCluster  # noqa: E402

import ray_on_dask as ray  # noqa: E402
from ray_on_dask.runtime import current  # noqa: E402
from ray_on_dask.util.dask import (  # noqa: E402
    RayDaskCallback,
    disable_dask_on_ray,
    enable_dask_on_ray,
    from_dask,
    ray_dask_get,
    ray_dask_get_sync,
    to_dask,
)

# It lasts as long as this process: it is to be there before leaks are looked for.
resource_tracker.ensure_running()

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0", host="127.0.0.1"
    ) as cluster:
        ray.init(cluster, log_to_driver=False)
        yield cluster
        ray.shutdown()
    gc.collect()


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[Client]:
    with Client(cluster, set_as_default=False) as client:
        yield client


@pytest.fixture
def frame() -> Any:
    """Four partitions of 10,000 rows."""
    rows = pandas.DataFrame({"a": np.arange(40_000), "b": np.arange(40_000.0)})
    return dd.from_pandas(rows, npartitions=4)


@ray.remote
def doubled(frame: Any) -> Any:
    return frame.assign(b=frame.b * 2)


def test_a_frame_goes_to_ray_and_comes_back(client: Client, frame: Any) -> None:
    refs = from_dask(frame, client)
    assert [len(x) for x in ray.get(refs)] == [10_000] * 4
    back = to_dask([doubled.remote(ref) for ref in refs], meta=frame._meta, client=client)
    assert back.npartitions == 4 and list(back.columns) == ["a", "b"]
    assert client.compute(back.b.sum()).result(timeout=60) == 2 * sum(range(40_000))
    looked_at = to_dask(refs, divisions=frame.divisions, client=client)
    assert looked_at.known_divisions
    pandas.testing.assert_frame_equal(
        client.compute(looked_at.loc[5:7]).result(timeout=60), frame.loc[5:7].compute()
    )


def test_persisted_partitions_are_stored_where_they_lie(client: Client) -> None:
    array = client.persist(da.ones((4, 100_000), chunks=(1, 100_000)))
    refs = from_dask(array)
    ray.get([ref for (ref,) in refs])
    there = {x["name"]: x["address"] for x in current.require().asking.ask("nodes")}
    who = client.who_has(array)
    holders = [who[key] for (key,) in array.__dask_keys__()]
    for (ref,), workers in zip(refs, holders, strict=True):
        assert there[ref._entry.data.node] in workers


@pytest.mark.parametrize("chunks", [None, "known"])
def test_an_array_keeps_its_blocks(client: Client, chunks: Any) -> None:
    array = da.arange(60, chunks=60).reshape(6, 10).rechunk((4, 5))
    refs = from_dask(array, client)
    assert np.shape(refs) == (2, 2)
    back = to_dask(refs, chunks=chunks and array.chunks, client=client)
    assert back.chunks == array.chunks and back.dtype == array.dtype
    np.testing.assert_array_equal(client.compute(back).result(timeout=60), array.compute())


def test_blocks_along_one_axis_need_one_level_of_lists_only(client: Client) -> None:
    refs = [ray.put(np.full((2, 3), i)) for i in range(3)]
    back = to_dask(refs, client=client)
    assert back.shape == (6, 3)
    assert int(client.compute(back.sum()).result(timeout=60)) == 18


def test_bags_and_delayed_values(client: Client) -> None:
    bag = db.range(10, npartitions=3)
    refs = from_dask(bag, client)
    back = to_dask(refs, [], client=client)
    assert client.compute(back).result(timeout=60) == list(range(10))
    assert ray.get(from_dask(dask.delayed(sum)([1, 2]), client)) == 3


def test_what_is_no_collection_or_no_ref_is_refused(cluster: LocalCluster) -> None:
    with pytest.raises(TypeError, match="Dask collection"):
        from_dask([1, 2])
    with pytest.raises(TypeError, match="takes refs"):
        to_dask([1, 2])
    with pytest.raises(TypeError, match="one ref or more"):
        to_dask([])
    with pytest.raises(TypeError, match="dask_future"):
        to_dask([ray.put(5)])
    with pytest.raises(ValueError, match="neighbours"):
        to_dask([[ray.put(np.ones((2, 3)))], [ray.put(np.ones((2, 4)))]])


def test_nothing_is_left_when_all_of_it_is_dropped(client: Client, cluster: LocalCluster) -> None:
    refs = from_dask(da.ones((4, 100_000), chunks=(1, 100_000)), client)
    back = to_dask(refs, client=client)
    assert client.compute(back.sum()).result(timeout=60) == 400_000
    del refs, back

    def left() -> dict[str, Any]:
        gc.collect()
        plugin = cluster.scheduler.extensions["ray_on_dask"]
        stats = plugin.store.directory.stats()
        return {"keys": list(cluster.scheduler.tasks), "entries": stats["entries"],
                "holds": stats["holds"], "kept": len(plugin.kept)}  # fmt: skip

    end = time.monotonic() + 15
    while left() != {"keys": [], "entries": 0, "holds": 0, "kept": 0}:
        assert time.monotonic() < end, left()
        time.sleep(0.05)


# -- graphs as tasks -----------------------------------------------------------------------


@pytest.mark.parametrize("get", [ray_dask_get, ray_dask_get_sync])
def test_a_graph_runs_as_ray_tasks(cluster: LocalCluster, get: Any) -> None:
    before = set(cluster.scheduler.tasks)
    array = da.arange(1000, chunks=100)
    assert int((array + 1).sum().compute(scheduler=get)) == 500_500
    bag = db.from_sequence(range(20), npartitions=4).map(lambda x: x * x)
    assert bag.sum().compute(scheduler=get) == 2470
    one, two = dask.compute(dask.delayed(sum)([1, 2]), dask.delayed(max)(3, 4), scheduler=get)
    assert (one, two) == (3, 4)
    assert set(cluster.scheduler.tasks) - before == set()


def test_a_frame_is_shuffled_by_ray_tasks(cluster: LocalCluster, frame: Any) -> None:
    with enable_dask_on_ray():
        counts = frame.assign(c=frame.a % 7).groupby("c").a.count().compute()
        with disable_dask_on_ray():
            assert dask.config.get("scheduler") is None
    assert counts.sum() == 40_000 and len(counts) == 7


def test_options_of_tasks_are_given_for_all_or_by_annotation(cluster: LocalCluster) -> None:
    def cpus(_: Any) -> dict[str, float]:
        return dict(ray.get_runtime_context().get_assigned_resources())

    value = dask.delayed(cpus)(1)
    assert value.compute(scheduler=ray_dask_get, ray_remote_args={"num_cpus": 0.5})["CPU"] == 0.5
    with dask.annotate(ray_remote_args={"num_cpus": 0.25}):
        assert dask.delayed(cpus)(2).compute(scheduler=ray_dask_get)["CPU"] == 0.25
    with pytest.raises(ValueError, match="ray_remote_args"):
        value.compute(scheduler=ray_dask_get, resources={"CPU": 1})


def test_callbacks_see_each_step_and_may_answer_for_a_task(cluster: LocalCluster) -> None:
    class Steps(RayDaskCallback):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[str] = []

        def _ray_presubmit(self, task: Any, key: Any, deps: Any) -> Any:
            self.seen.append("pre")
            return 10 if str(key).startswith("abs") else None

        def _ray_postsubmit(self, task: Any, key: Any, deps: Any, object_ref: Any) -> None:
            assert isinstance(object_ref, ray.ObjectRef)
            self.seen.append("post")

        def _ray_postsubmit_all(self, object_refs: Any, dsk: Any) -> None:
            self.seen.append("all")

        def _ray_finish(self, result: Any) -> None:
            self.seen.append(f"finish {result}")

    with Steps() as steps:
        value = dask.delayed(sum)([dask.delayed(abs)(-1), 2])
        assert value.compute(scheduler=ray_dask_get, optimize_graph=False) == 12
    assert steps.seen[0] == "pre" and steps.seen[-2] == "all"
    assert "post" in steps.seen and steps.seen[-1].startswith("finish")
    assert RayDaskCallback.ray_active == set()


def test_hooks_around_a_task_run_with_it(cluster: LocalCluster, tmp_path: Any) -> None:
    path = str(tmp_path / "told")

    def after(key: Any, result: Any, state: Any) -> None:
        with open(path, "a") as file:
            file.write(f"{result} {state}\n")

    with RayDaskCallback(ray_pretask=lambda key, refs: "begun", ray_posttask=after):
        assert dask.delayed(sum)([1, 2]).compute(scheduler=ray_dask_get) == 3
    with open(path) as file:
        assert file.read() == "3 begun\n"


def test_errors_of_a_graph_are_raised(cluster: LocalCluster) -> None:
    with pytest.raises(ZeroDivisionError):
        dask.delayed(divmod)(1, 0).compute(scheduler=ray_dask_get)
