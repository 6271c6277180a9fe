"""What becomes of work when a host is unplugged: for seconds, and for good."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

pytestmark = [pytest.mark.cluster, pytest.mark.hosts, pytest.mark.timeout(150)]
PROGRAMS = "tests/cluster/programs"


@pytest.fixture
def cluster(net: Any) -> Iterator[Any]:
    """Three hosts: a scheduler and a worker on the first, workers on the others."""
    with net.network(3) as hosts:
        yield net.DaskCluster.start(hosts, [0, 1, 2])


def test_a_link_that_is_down_for_five_seconds_costs_time_and_nothing_else(
    net: Any, cluster: Any
) -> None:
    """No call is lost, none is made twice: the actor counts them."""
    program = cluster.begin(0, f"{PROGRAMS}/keep_calling.py", "host3")
    net.expect(program, "ready")
    time.sleep(0.5)
    cluster.hosts[2].link(up=False)
    time.sleep(5.0)
    cluster.hosts[2].link(up=True)
    time.sleep(0.5)
    out = cluster.end(program)
    _, calls, longest = out.split()
    assert int(calls) > 20
    assert 4.0 < float(longest) < 15.0
