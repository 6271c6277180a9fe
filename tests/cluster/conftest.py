"""Hosts of a network of their own, with a Dask cluster on them."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_spec = importlib.util.spec_from_file_location(
    "rod_test_network", Path(__file__).with_name("network.py")
)
assert _spec is not None and _spec.loader is not None
network = importlib.util.module_from_spec(_spec)
sys.modules["rod_test_network"] = network
_spec.loader.exec_module(network)


@pytest.fixture(scope="session")
def net() -> Any:
    """The module that makes hosts; tests that need it are skipped where it cannot."""
    why = network.why_not()
    if why:
        pytest.skip(why)
    return network


@pytest.fixture(scope="module")
def secure_cluster(net: Any) -> Iterator[Any]:
    """Four hosts with TLS between them: a scheduler and workers on the first three."""
    pytest.importorskip("cryptography")
    with net.network(4) as hosts:
        tls = net.certificates([host.ip for host in hosts])
        yield net.DaskCluster.start(hosts, [0, 1, 2], **tls)
