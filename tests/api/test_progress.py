"""Progress bars of tasks on the driver's terminal, and where objects are."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ray_on_dask.experimental import get_local_object_locations, get_object_locations
from ray_on_dask.experimental.tqdm_ray import tqdm
from ray_on_dask.runtime import progress


def eventually(condition: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_bar_of_a_task_is_told_on_the_drivers_terminal(
    ray_session: Callable[..., Any], capfd: pytest.CaptureFixture[str]
) -> None:
    ray = ray_session(log_to_driver=True)

    @ray.remote
    def work() -> int:
        print("before")
        return sum(tqdm(range(5), desc="steps", flush_interval_s=0))

    assert ray.get(work.remote()) == 10
    printed = ["", ""]

    def there() -> bool:
        for at, text in enumerate(capfd.readouterr()):
            printed[at] += text
        return "before" in printed[0] and "steps: 5/5 it (ended)" in printed[1]

    eventually(there)
    assert progress.MARK not in printed[0]


def test_a_bar_is_advanced_by_hand() -> None:
    bar = tqdm(desc="parts", total=3, unit="part", flush_interval_s=100)
    bar.update(2)
    assert (bar.n, bar.total) == (2, 3)
    assert repr(bar) == "tqdm(parts: 2/3 part)"
    with pytest.raises(ValueError, match="without an iterable"):
        next(iter(bar))
    bar.close()


def test_lines_come_at_long_intervals_where_nothing_can_be_drawn(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bars = progress.Bars()
    state = progress.State("id", "steps", None, "it", None)
    for state.done in range(100):
        bars.take(state)
    state.closed = True
    bars.take(state)
    assert capsys.readouterr().err == "steps: 0 it\nsteps: 99 it (ended)\n"


@pytest.mark.parametrize("line", ["\x1f", "\x1f{}", "\x1f[1]", "\x1fnot json"])
def test_a_line_that_is_no_bar_does_no_harm(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert progress.Bars().take_line(line)
    assert capsys.readouterr().err == ""


def test_locations_tell_size_and_node(ray_session: Callable[..., Any]) -> None:
    ray = ray_session()

    @ray.remote
    def locate(refs: list[Any]) -> list[Any]:
        return list(get_object_locations(refs).values())

    @ray.remote
    def never() -> None:
        time.sleep(100)

    small, large, pending = ray.put(1), ray.put(np.zeros(100_000)), never.remote()
    found = get_object_locations([small, large, pending])
    node = ray.nodes()[0]["NodeID"]
    assert found[small]["node_ids"] == []
    assert found[large]["node_ids"] == [node]
    assert found[large]["object_size"] >= 800_000
    assert found[pending] == {"node_ids": [], "object_size": None, "did_spill": False}
    assert get_local_object_locations([large]) == {large: found[large]}
    assert ray.get(locate.remote([small, large])) == [found[small], found[large]]
    with pytest.raises(TypeError, match="ObjectRef"):
        get_object_locations([1])
