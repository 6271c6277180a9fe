"""A generator whose process dies runs again, and does not wait for what its reader had before."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest

LIMIT = 30.0


@pytest.mark.parametrize("dies", [True, False], ids=["again", "once"])
def test_a_reader_that_is_ahead_of_a_generator_that_runs_again_gets_the_rest(
    ray_session: Any, dies: bool
) -> None:
    ray = ray_session()

    @ray.remote(max_retries=2, _generator_backpressure_num_objects=2)
    def generator() -> Any:
        for number in range(10):
            yield number, os.getpid()

    values = generator.remote()
    seen = [ray.get(next(values), timeout=LIMIT) for _ in range(5)]
    if dies:
        os.kill(seen[-1][1], signal.SIGKILL)

    rest: list[Any] = []
    while True:
        ready, _ = ray.wait([values], timeout=LIMIT)
        assert ready, f"nothing comes after {rest}"
        try:
            rest.append(ray.get(next(values)))
        except StopIteration:
            break

    assert [number for number, _ in seen + rest] == list(range(10))


def test_a_generator_that_is_over_cannot_be_cancelled_any_more(ray_session: Any) -> None:
    ray = ray_session()

    @ray.remote
    def generator() -> Any:
        yield 1

    values = generator.remote()
    assert [ray.get(ref) for ref in values] == [1]
    assert ray.get(values.completed()) is None

    ray.cancel(values)

    assert ray.get(values.completed()) is None
