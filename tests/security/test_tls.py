"""A cluster with TLS lets in who has its credentials, and nobody else."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing import resource_tracker
from typing import Any

import numpy as np
import pytest

pytest.importorskip("cryptography")  # `Security.temporary` makes certificates with it

from distributed import Client, LocalCluster
from distributed.security import Security

import ray_on_dask as ray

# It lasts as long as this process: it is to be there before leaks are looked for.
resource_tracker.ensure_running()

pytestmark = pytest.mark.timeout(90)


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(
        n_workers=1, threads_per_worker=2, dashboard_address="127.0.0.1:0", host="tls://127.0.0.1",
        security=Security.temporary(),
    ) as cluster:  # fmt: skip
        yield cluster
    gc.collect()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("DASK_RAY_ON_DASK__CONNECT_TIMEOUT", "2")
    yield
    ray.shutdown()
    gc.collect()


@ray.remote
def total(array: Any) -> int:
    return int(np.sum(array))


def test_with_the_credentials_all_works_from_executors_too(cluster: LocalCluster) -> None:
    ray.init(cluster, log_to_driver=False)
    assert cluster.scheduler_address.startswith("tls://")
    assert ray.get(total.remote(np.ones(200_000)), timeout=30) == 200_000

    @ray.remote
    def through_dask() -> int:
        return int(ray.put(np.ones(200_000)).dask_future().result(timeout=20).sum())

    assert ray.get(through_dask.remote(), timeout=40) == 200_000
    with Client(cluster, set_as_default=False) as client:
        assert ray.get(total.remote(client.submit(np.ones, 10)), timeout=30) == 10


#: A program of its own: a Dask `Client` that fails leaves its thread behind.
ATTEMPT = """
import sys
from distributed.security import Security
from ray_on_dask.plugins.attach import _Session
address, theirs = sys.argv[1:]
try:
    _Session.open(address, Security.temporary() if theirs == "of another cluster" else None)
except ConnectionError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("theirs", "expected"),
    [
        ("nothing", "no credentials for it"),
        ("of another cluster", "No Dask scheduler answers"),
        ("no TLS", "No Dask scheduler answers"),
    ],
)
def test_without_them_nobody_gets_in(cluster: LocalCluster, theirs: str, expected: str) -> None:
    address = cluster.scheduler_address
    if theirs == "no TLS":
        address = address.replace("tls://", "tcp://")
    done = subprocess.run(
        [sys.executable, "-c", ATTEMPT, address, theirs], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert expected in done.stdout, done.stderr
