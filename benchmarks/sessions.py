"""How a benchmark process starts and ends its cluster: alike for every module."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

#: Set before Ray is imported; the others take no notice of them.
ENVIRONMENT = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


def start(ray: Any) -> None:
    """Start a local cluster with all cores of this machine and no dashboard."""
    ray.init(
        num_cpus=os.cpu_count(),
        resources={"custom": 100},
        include_dashboard=False,
        log_to_driver=False,
    )


@contextlib.contextmanager
def ray_cluster(ray: Any) -> Iterator[Any]:
    """Give the Ray-like module `ray` with a cluster that ends with the block."""
    start(ray)
    try:
        yield ray
    finally:
        ray.shutdown()


def start_dask() -> Any:
    """Start a local Dask cluster of one single-threaded process a core; give its client."""
    from distributed import Client, LocalCluster

    cluster = LocalCluster(
        processes=True,
        n_workers=os.cpu_count(),
        threads_per_worker=1,
        dashboard_address=None,
    )
    return Client(cluster)


def stop_dask(client: Any) -> None:
    """End a client and the local cluster that was started with it."""
    cluster = client.cluster
    client.close()
    cluster.close()


@contextlib.contextmanager
def dask_cluster(_module: Any) -> Iterator[Any]:
    """Give the client of a plain local Dask cluster that ends with the block."""
    client = start_dask()
    try:
        yield client
    finally:
        stop_dask(client)
