"""One session per test module. What is sent to workers is defined inside functions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import ray_on_dask


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """The module under test, in a session with two CPUs."""
    ray_on_dask.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield ray_on_dask
    ray_on_dask.shutdown()
