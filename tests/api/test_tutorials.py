"""The first tutorials of Ray, from 2016 to 0.7, as programs of somebody who has read them."""

from __future__ import annotations

import os
import re
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ray_on_dask as ray


@pytest.fixture
def session() -> Iterator[Any]:
    """A cluster with more CPUs than the machine may have; tasks here mostly sleep."""
    yield ray.init(num_cpus=6)
    ray.shutdown()


def eventually(condition: Callable[[], object], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not true after {seconds} s"
        time.sleep(0.02)


def test_put_gives_an_id_that_shows_forty_hex_digits(session: Any) -> None:
    name = ray.put("some text")
    assert re.fullmatch(r"Object(ID|Ref)\([0-9a-f]{40}\)", repr(name))
    assert re.fullmatch(r"[0-9a-f]{40}", name.hex())
    assert len(name.binary()) == 20
    assert isinstance(name, ray.ObjectID)
    assert ray.get(name) == "some text"


def test_a_stored_list_is_not_changed_by_what_happens_to_the_original(session: Any) -> None:
    numbers = [1, 2, 3]
    stored = ray.put(numbers)
    numbers.append(4)
    assert ray.get(stored) == [1, 2, 3]


def test_get_of_ten_ids_is_a_list_of_ten_values(session: Any) -> None:
    ids = [ray.put(i) for i in range(10)]
    assert ray.get(ids) == list(range(10))


def test_a_plain_function_and_a_remote_one_give_the_same_sum(session: Any) -> None:
    def plain_sum(left: int, right: int) -> int:
        return left + right

    remote_sum = ray.remote(plain_sum)
    assert plain_sum(1, 2) == 3
    answers = [
        remote_sum.remote(1, 2),
        remote_sum.remote(1, ray.put(2)),
        remote_sum.remote(ray.put(1), ray.put(2)),
    ]
    assert all(isinstance(answer, ray.ObjectID) for answer in answers)
    assert ray.get(answers) == [3, 3, 3]


def test_a_call_returns_before_its_task_ends(session: Any, tmp_path: Path) -> None:
    go = tmp_path / "go"

    @ray.remote
    def waits_for_a_file() -> str:
        while not go.exists():
            time.sleep(0.01)
        return "seen"

    answer = waits_for_a_file.remote()
    go.touch()
    assert ray.get(answer) == "seen"


def test_each_step_of_a_chain_waits_for_the_one_before(session: Any) -> None:
    @ray.remote
    def step(x: int) -> int:
        return x + 1

    one = step.remote(0)
    two = step.remote(one)
    three = step.remote(two)
    assert ray.get(three) == 3
    assert ray.get([one, two]) == [1, 2]


def test_three_return_values_are_three_ids(session: Any) -> None:
    @ray.remote(num_return_vals=3)
    def several() -> tuple[int, float, str]:
        return 0, 0.0, "zero"

    integer, number, word = several.remote()
    assert ray.get(integer) == 0
    assert ray.get([number, word]) == [0.0, "zero"]


def test_old_and_new_names_of_the_number_of_returns_must_agree(session: Any) -> None:
    def pair() -> tuple[int, int]:
        return 1, 2

    first, second = ray.remote(num_return_vals=2, num_returns=2)(pair).remote()
    assert ray.get([first, second]) == [1, 2]
    with pytest.raises(ValueError):
        ray.remote(num_return_vals=2, num_returns=3)(pair)


def test_values_of_any_shape_are_returned(session: Any) -> None:
    @ray.remote
    def table() -> dict[str, list[str]]:
        return {"key": ["value"]}

    assert ray.get(table.remote()) == {"key": ["value"]}
    assert ray.get([table.remote() for _ in range(2)]) == [{"key": ["value"]}] * 2


def test_a_hundred_arrays_are_summed_in_a_tree(session: Any) -> None:
    @ray.remote
    def draw(seed: int) -> Any:
        return np.random.default_rng(seed).normal(size=1000)

    @ray.remote
    def merge(left: Any, right: Any) -> Any:
        return left + right

    parts = [draw.remote(seed) for seed in range(100)]
    expected = np.sum(ray.get(parts), axis=0)
    while len(parts) > 1:
        parts.append(merge.remote(parts.pop(0), parts.pop(0)))
    (total,) = ray.get(parts)
    assert total.shape == (1000,)
    np.testing.assert_allclose(total, expected)


def test_tasks_multiply_arrays_that_tasks_have_made(session: Any) -> None:
    @ray.remote
    def blank(shape: list[int]) -> Any:
        return np.zeros(shape)

    @ray.remote
    def product(left: Any, right: Any) -> Any:
        return np.dot(left, right)

    answer = ray.get(product.remote(blank.remote([10, 10]), blank.remote([10, 10])))
    assert answer.shape == (10, 10)
    assert not answer.any()


def test_experiments_run_experiments_of_their_own(session: Any) -> None:
    @ray.remote
    def part(i: int, j: int) -> int:
        return i + j

    @ray.remote
    def whole(i: int) -> int:
        return sum(ray.get([part.remote(i, j) for j in range(10)]))

    assert ray.get([whole.remote(i) for i in range(5)]) == [45, 55, 65, 75, 85]


def test_a_large_array_stored_once_serves_ten_tasks(session: Any) -> None:
    @ray.remote
    def length(array: Any) -> int:
        return len(array)

    array = np.zeros(10**6)
    by_value = [length.remote(array) for _ in range(3)]
    stored = ray.put(array)
    by_id = [length.remote(stored) for _ in range(10)]
    assert ray.get(by_value + by_id) == [10**6] * 13


def test_an_array_must_be_copied_before_it_is_changed(session: Any) -> None:
    array = ray.get(ray.put(np.zeros(100_000)))
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1.0
    own = array.copy()
    own[0] = 1.0
    assert own.sum() == 1.0


def test_wait_gives_the_first_two_of_three(session: Any) -> None:
    @ray.remote
    def nap(n: float) -> float:
        time.sleep(n)
        return n

    naps = [nap.remote(n) for n in (0.0, 0.05, 60.0)]
    done, left = ray.wait(naps, num_returns=2)
    assert (len(done), len(left)) == (2, 1)
    assert left == naps[2:]


def test_wait_counts_an_integer_timeout_in_milliseconds(session: Any) -> None:
    @ray.remote
    def nap(n: float) -> float:
        time.sleep(n)
        return n

    naps = [nap.remote(n) for n in (0.0, 0.0, 60.0, 60.0)]
    ray.wait(naps, num_returns=2)
    began = time.monotonic()
    done, left = ray.wait(naps, num_returns=4, timeout=250)
    waited = time.monotonic() - began
    assert 0.2 < waited < 20
    assert (done, left) == (naps[:2], naps[2:])
    assert ray.wait(naps, 2, 2500) == (naps[:2], naps[2:])
    began = time.monotonic()
    ray.wait(naps, num_returns=4, timeout=0.25)
    assert 0.2 < time.monotonic() - began < 20


def test_a_suspiciously_short_integer_timeout_warns_once(
    session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray_on_dask.api.wait._warned", False)
    ready = [ray.put(1)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ray.wait(ready, timeout=2500)
        ray.wait(ready, timeout=2.5)
        ray.wait(ready, timeout=0)
    with pytest.warns(UserWarning, match="milliseconds") as warned:
        ray.wait(ready, timeout=4)
        ray.wait(ready, timeout=4)
    assert len(warned) == 1


def test_the_unit_of_wait_can_be_settled() -> None:
    with ray.init(num_cpus=2, wait_timeout_unit="s"):
        ready = [ray.put(1)]
        assert ray.wait(ready, timeout=4) == (ready, [])


@pytest.mark.parametrize("rounds", [10, 100])
def test_a_wait_loop_keeps_five_tasks_going(session: Any, rounds: int) -> None:
    @ray.remote
    def one() -> int:
        return 1

    going = [one.remote() for _ in range(5)]
    seen = []
    for _ in range(rounds):
        done, going = ray.wait(going)
        seen += ray.get(done)
        going.append(one.remote())
    assert seen == [1] * rounds
    assert len(going) == 5


def test_a_failed_task_is_printed_kept_and_raised(
    session: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    @ray.remote
    def misfortune() -> None:
        raise Exception("an unlucky task")

    answer = misfortune.remote()
    eventually(ray.error_info)
    entry = ray.error_info()[0]
    assert entry["type"] == "task"
    assert "misfortune" in entry["message"]
    assert "failed with" in entry["message"]
    assert "an unlucky task" in entry["message"]
    assert "function_id" in entry["data"]
    assert "misfortune" in entry["data"]
    printed: list[str] = []

    def is_printed() -> bool:
        printed.extend(capfd.readouterr())
        return "an unlucky task" in "".join(printed)

    eventually(is_printed)
    with pytest.raises(Exception, match="an unlucky task"):
        ray.get(answer)


def test_without_failures_error_info_is_empty(session: Any) -> None:
    assert ray.get(ray.put(1)) == 1
    assert ray.error_info() == []


def test_silent_mode_keeps_errors_but_prints_none(capfd: pytest.CaptureFixture[str]) -> None:
    @ray.remote
    def misfortune() -> None:
        raise Exception("a silent task")

    with ray.init(num_cpus=2, driver_mode=ray.SILENT_MODE):
        misfortune.remote()
        eventually(ray.error_info)
        assert "a silent task" in ray.error_info()[0]["message"]
    assert "a silent task" not in "".join(capfd.readouterr())


def test_ten_workers_do_ten_tasks_at_once(tmp_path: Path) -> None:
    """Each of the ten waits until all ten have begun, so fewer at once would never end."""

    @ray.remote
    def meet(i: int) -> int:
        (tmp_path / str(i)).touch()
        while len(os.listdir(tmp_path)) < 10:
            time.sleep(0.01)
        return 0

    ray.init(start_ray_local=True, num_workers=10)
    try:
        assert ray.get([meet.remote(i) for i in range(10)], timeout=60) == [0] * 10
        assert ray.cluster_resources()["CPU"] == 10
    finally:
        ray.shutdown()


def test_init_tells_the_addresses_under_their_old_names(session: Any) -> None:
    keys = {
        "local_scheduler_socket_names", "node_ip_address", "object_store_addresses",
        "redis_address", "webui_url",
    }  # fmt: skip
    assert keys <= set(session)
    assert isinstance(session["local_scheduler_socket_names"], list)
    assert session["object_store_addresses"][0].name


def test_arguments_of_init_may_be_given_by_position() -> None:
    with ray.init(None, None, None, None, ray.SCRIPT_MODE, False, 3, 0):
        assert ray.cluster_resources()["CPU"] == 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"start_ray_local": True, "redis_address": "127.0.0.1:6379"},
        {"redis_address": "127.0.0.1:6379", "num_cpus": 2},
        {"driver_mode": 77},
        {"huge_pages": True},
        {"num_cpu": 2},
    ],
)
def test_arguments_that_do_not_go_together_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(Exception):  # noqa: B017 (the tutorial promises no narrower class)
        ray.init(**wrong)
    assert not ray.is_initialized()


def test_an_anonymous_custom_resource_is_counted() -> None:
    @ray.remote(num_custom_resource=1)
    def needs_one() -> str:
        return "had one"

    with ray.init(num_cpus=2, num_custom_resource=2):
        assert 2.0 in ray.cluster_resources().values()
        assert ray.get(needs_one.remote()) == "had one"


def test_python_mode_runs_everything_at_once_in_the_driver() -> None:
    def lengthen(items: list[int]) -> tuple[int, list[int]]:
        items.append(os.getpid())
        return os.getpid(), items

    with ray.init(driver_mode=ray.PYTHON_MODE):
        given = [1]
        pid, items = ray.get(ray.remote(lengthen).remote(given))
        assert pid == os.getpid()
        assert items == [1, pid]
        assert given == [1]
        assert ray.get(ray.put("value")) == "value"
        ids = [ray.put(i) for i in range(4)]
        done, left = ray.wait(ids, num_returns=3)
        assert (len(done), len(left)) == (3, 1)
        assert ray.get(done + left) == [0, 1, 2, 3]


def test_the_same_seed_gives_the_same_ids() -> None:
    @ray.remote
    def one() -> int:
        return 1

    seen = []
    for _ in range(2):
        with ray.init(num_cpus=1, object_id_seed=7):
            seen.append([ray.put(1).hex(), one.remote().hex()])
    assert seen[0] == seen[1]
