"""`Pool`, as `multiprocessing` documents it; and joblib on top of tasks."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from ray_on_dask.test_utils import SignalActor
from ray_on_dask.util.multiprocessing import Pool, TimeoutError


@pytest.fixture(scope="module")
def pool(ray: Any) -> Iterator[Pool]:
    with Pool(2) as pool:
        yield pool


def add(a: int, b: int = 1) -> int:
    return a + b


def fail_at_two(x: int) -> int:
    if x == 2:
        raise KeyError("two")
    return x


def test_map_keeps_order(pool: Pool) -> None:
    assert pool.map(add, range(50)) == list(range(1, 51))
    assert pool.map(add, range(5), chunksize=2) == [1, 2, 3, 4, 5]
    assert pool.map(add, []) == []


def test_apply_and_starmap_pass_arguments(pool: Pool) -> None:
    assert pool.apply(add, (1,), {"b": 5}) == 6
    assert pool.apply(add, kwargs={"a": 1}) == 2
    assert pool.starmap(add, [(1, 2), (3, 4)]) == [3, 7]
    assert pool.starmap_async(add, [(1,)]).get() == [2]


def test_imap_yields_results_in_order_or_as_they_come(pool: Pool) -> None:
    assert list(pool.imap(add, range(20), chunksize=3)) == list(range(1, 21))
    assert sorted(pool.imap_unordered(add, range(20))) == list(range(1, 21))


def test_imap_takes_items_no_faster_than_results_are_taken(pool: Pool) -> None:
    taken = []

    def items() -> Iterator[int]:
        for i in range(1_000_000):
            taken.append(i)
            yield i

    results = pool.imap(add, items())
    assert [next(results) for _ in range(3)] == [1, 2, 3]
    assert len(taken) < 20


def test_errors_come_as_they_were_raised_with_the_remote_traceback(pool: Pool) -> None:
    with pytest.raises(KeyError) as caught:
        pool.map(fail_at_two, range(4))
    assert type(caught.value) is KeyError
    assert "fail_at_two" in str(caught.value.__cause__)


def test_an_iteration_goes_on_after_an_error(pool: Pool) -> None:
    results = pool.imap(fail_at_two, range(4))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(KeyError):
        next(results)
    assert list(results) == [3]


def test_a_result_tells_whether_it_is_there(pool: Pool, ray: Any) -> None:
    signal = SignalActor.remote()
    result = pool.apply_async(lambda: ray.get(signal.wait.remote()))
    with pytest.raises(TimeoutError):
        result.get(timeout=0.05)
    assert not result.ready()
    with pytest.raises(ValueError, match="not ready"):
        result.successful()
    ray.get(signal.send.remote())
    result.wait(30)
    assert result.ready() and result.successful()


def test_callbacks_get_the_result_or_the_error(pool: Pool) -> None:
    got: list[Any] = []
    done = threading.Barrier(2)

    def take(value: Any) -> None:
        got.append(value)
        done.wait(30)

    pool.map_async(add, [1, 2], callback=take)
    done.wait(30)
    pool.apply_async(fail_at_two, (2,), error_callback=take)
    done.wait(30)
    assert got[0] == [2, 3]
    assert type(got[1]) is KeyError


def test_processes_are_prepared_and_replaced(ray: Any) -> None:
    def prepare(value: str) -> None:
        os.environ["PREPARED"] = value

    pool = Pool(1, initializer=prepare, initargs=("yes",), maxtasksperchild=1)
    seen = [pool.apply(lambda: (os.getpid(), os.environ["PREPARED"])) for _ in range(2)]
    assert {value for _, value in seen} == {"yes"}
    assert len({pid for pid, _ in seen}) == 2
    pool.terminate()


def test_a_closed_pool_finishes_its_work_and_takes_no_more(ray: Any) -> None:
    pool = Pool(1)
    result = pool.map_async(add, range(10))
    with pytest.raises(ValueError):
        pool.join()
    pool.close()
    pool.join()
    assert result.get(30) == list(range(1, 11))
    with pytest.raises(ValueError):
        pool.apply(add, (1,))


@pytest.mark.parametrize("processes", [0, -1, 99])
def test_a_pool_has_as_many_processes_as_there_are_cpus_at_most(ray: Any, processes: int) -> None:
    with pytest.raises(ValueError):
        Pool(processes)


def test_joblib_runs_on_tasks(ray: Any) -> None:
    joblib = pytest.importorskip("joblib")
    from ray_on_dask.util.joblib import register_ray

    register_ray()
    driver = os.getpid()
    with joblib.parallel_config("ray"):
        doubled = joblib.Parallel()(joblib.delayed(add)(i, i) for i in range(40))
        pids = joblib.Parallel()(joblib.delayed(os.getpid)() for _ in range(4))
        with pytest.raises(KeyError):
            joblib.Parallel()(joblib.delayed(fail_at_two)(i) for i in range(4))
    assert doubled == [2 * i for i in range(40)]
    assert driver not in pids


def test_threads_may_submit_at_the_same_time(ray: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each finds the process used up, and one after the other replaces it."""
    pool = Pool(1, maxtasksperchild=1)
    pool.apply(add, (1,))
    make = pool._new_worker

    def slowly() -> Any:
        time.sleep(0.05)
        return make()

    monkeypatch.setattr(pool, "_new_worker", slowly)
    results: list[Any] = []
    threads = [
        threading.Thread(target=lambda n=n: results.append(pool.apply_async(add, (n,))))
        for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(result.get(30) for result in results) == [1, 2, 3, 4]
    assert all(worker.chunks == 1 for worker in [*pool._workers, *pool._retired])
    pool.terminate()
