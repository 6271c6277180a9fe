"""A Dask cluster that was there before the session."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from distributed import LocalCluster

# It lasts as long as this process: it is to be there before leaks are looked for.
resource_tracker.ensure_running()


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Two workers, each a process with a node."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=2, dashboard_address="127.0.0.1:0", host="127.0.0.1"
    ) as cluster:
        yield cluster
    gc.collect()
