"""Metrics: what is refused, and what of many processes is added up."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from typing import Any

import pytest

from ray_on_dask.util.metrics import Counter, Gauge, Histogram, collected


@pytest.fixture(scope="module")
def ray(ray_session: Callable[..., Any]) -> Any:
    return ray_session(num_cpus=2)


def series(name: str) -> list[dict[str, Any]]:
    return [found for found in collected() if found["name"] == name]


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: Counter(""), ValueError), (lambda: Counter(3), TypeError),
        (lambda: Counter("a", tag_keys=["x"]), TypeError),
        (lambda: Counter("a", tag_keys=(1,)), TypeError),
        (lambda: Histogram("h"), ValueError),
        (lambda: Histogram("h", boundaries=[0, 1]), ValueError),
        (lambda: Counter("a", tag_keys=("x",)).inc(), ValueError),
        (lambda: Counter("a").inc(0), ValueError),
        (lambda: Counter("a").inc("x"), TypeError),
        (lambda: Counter("a", tag_keys=("x",)).inc(tags={"x": 1}), TypeError),
        (lambda: Counter("a").set_default_tags({"x": "1"}), ValueError),
        (lambda: Gauge("g").set("x"), TypeError),
        (lambda: Histogram("h", boundaries=[1]).observe(None), TypeError),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(make: Callable[[], Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        make()


def test_a_name_that_cannot_be_collected_warns() -> None:
    with pytest.warns(UserWarning, match="Invalid metric name"):
        Counter("a-b c").inc()


def test_info_tells_what_a_metric_is() -> None:
    counter = Counter("a", "d", ("x",)).set_default_tags({"x": "1"})
    told = {"name": "a", "description": "d", "tag_keys": ("x",), "default_tags": {"x": "1"}}
    assert counter.info == pickle.loads(pickle.dumps(counter)).info == told
    histogram = Histogram("h", boundaries=[1.0, 2.0])
    assert pickle.loads(pickle.dumps(histogram)).info["boundaries"] == [1.0, 2.0]


def test_counts_of_all_processes_are_added_up(ray: Any) -> None:
    counter = Counter("added_up", tag_keys=("who",))

    @ray.remote
    def count() -> None:
        counter.inc(2, tags={"who": "task"})

    counter.inc(tags={"who": "driver"})
    ray.get([count.remote() for _ in range(3)], timeout=20)
    deadline = time.monotonic() + 10
    while sum(found["value"] for found in series("added_up")) < 7:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    values = {found["tags"]["who"]: found["value"] for found in series("added_up")}
    assert values == {"driver": 1.0, "task": 6.0}


def test_a_gauge_has_its_last_value(ray: Any) -> None:
    gauge = Gauge("level")
    for value in (3, 5, None):
        gauge.set(value)
    assert [found["value"] for found in series("level")] == [5.0]


def test_a_histogram_counts_by_boundaries(ray: Any) -> None:
    histogram = Histogram("sizes", boundaries=[1, 10])
    for value in (0.5, 1, 5, 50):
        histogram.observe(value)
    (found,) = series("sizes")
    assert (found["counts"], found["value"]) == ([2, 1, 1], 56.5)
