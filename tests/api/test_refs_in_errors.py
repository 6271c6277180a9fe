"""What is referred to by exceptions alone goes with them."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable
from typing import Any

import numpy
import pytest

import ray_on_dask as ray


def raising() -> Callable[[], None]:
    def fail() -> None:
        raise ValueError([ray.put(numpy.ones(500_000))])

    return fail


def make_errors() -> None:
    class Failing:
        def fail(self) -> None:
            raising()()

    def values() -> Any:
        yield [ray.put(numpy.ones(500_000))]
        raising()()

    fail = raising()
    actor = ray.remote(Failing).remote()
    ray.remote(num_returns=0)(fail).remote()
    refs = [
        ray.remote(fail).remote(),
        ray.remote(max_retries=2, retry_exceptions=True)(fail).remote(),
        actor.fail.remote(),
        actor.fail.options(max_task_retries=2, retry_exceptions=True).remote(),
    ]
    refs += [ray.remote(lambda x: x).remote(ref) for ref in refs]
    refs += [*ray.remote(num_returns=2)(fail).remote(), *ray.remote(values).remote()]
    for ref in refs:
        with contextlib.suppress(ValueError):
            ray.get(ref)


@pytest.mark.parametrize("local", [False, True])
def test_objects_in_errors_are_freed_with_them(local: bool) -> None:
    with ray.init(num_cpus=2, local_mode=local, driver_mode=None if local else ray.SILENT_MODE):
        for _ in range(3):
            make_errors()
        gc.collect()
        deadline = time.monotonic() + 20
        while not local and ray.nodes()[0]["ObjectStore"].get("objects") != 0:
            assert time.monotonic() < deadline, ray.internal.memory_summary()
            time.sleep(0.1)


def test_local_mode_has_refs_in_errors_too() -> None:
    with ray.init(local_mode=True):
        ref = ray.remote(raising()).remote()
        for made in (ref, ray.remote(lambda x: x).remote(ref)):
            with pytest.raises(ValueError) as caught:
                ray.get(made)
            error: Any = caught.value
            assert ray.get(error.cause.args[0][0]).sum() == 500_000
