"""What becomes of work when a host is unplugged: for seconds, and for good."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

pytestmark = [pytest.mark.cluster, pytest.mark.hosts, pytest.mark.timeout(150)]
PROGRAMS = "tests/cluster/programs"
#: Says how long a host takes to refuse a connection.
KNOCK = """
import socket, sys, time
start = time.perf_counter()
assert socket.socket().connect_ex((sys.argv[1], 9))
print(time.perf_counter() - start)
"""


@pytest.fixture
def cluster(net: Any) -> Iterator[Any]:
    """Three hosts: a scheduler and a worker on the first, workers on the others."""
    with net.network(3) as hosts:
        yield net.DaskCluster.start(hosts, [0, 1, 2])


@pytest.fixture
def quick_death(net: Any) -> Iterator[Any]:
    """The same, where a node counts as dead after six seconds without a sign of life."""
    with net.network(3) as hosts:
        limit = {"DASK_RAY_ON_DASK__NODE_DEATH_TIMEOUT": "6"}
        yield net.DaskCluster.start(hosts, [0, 1, 2], **limit)


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


def test_a_gateway_whose_host_is_unplugged_for_five_seconds_goes_on(net: Any) -> None:
    """The driver's calls, and what its gateway says to the control store."""
    with net.network(3) as hosts:
        cluster = net.DaskCluster.start(hosts, [0, 1])
        program = cluster.begin(2, f"{PROGRAMS}/keep_calling.py", "host2")
        net.expect(program, "ready")
        hosts[2].link(up=False)
        time.sleep(5.0)
        hosts[2].link(up=True)
        time.sleep(0.5)
        _, calls, longest = cluster.end(program).split()
        assert int(calls) > 20
        assert 4.0 < float(longest) < 15.0


def test_calls_over_a_long_way_are_not_made_one_by_one(net: Any, cluster: Any) -> None:
    """With 20 ms from another host, forty calls at once take as long as a few."""
    cluster.hosts[2].delay(20)
    assert float(cluster.hosts[0].python("-c", KNOCK, cluster.hosts[2].ip)) >= 0.02
    program = cluster.begin(0, f"{PROGRAMS}/keep_calling.py", "host3")
    net.expect(program, "ready")
    time.sleep(3.0)
    _, calls, longest = cluster.end(program).split()
    assert int(calls) >= 100
    assert float(longest) < 1.5


@pytest.mark.parametrize("copied", [False, True], ids=["retired", "killed"])
def test_objects_of_a_node_that_leaves_are_read_elsewhere(
    net: Any, cluster: Any, copied: bool
) -> None:
    """They move with `retire_workers`; of a node that is killed, copies are found."""
    program = cluster.begin(0, f"{PROGRAMS}/keep_copies.py", "host3", "host2")
    program.stdin.write("copied\n" if copied else "alone\n")
    program.stdin.flush()
    net.expect(program, "ready")
    if copied:
        os.killpg(cluster.workers["host3"].pid, signal.SIGKILL)
    else:
        cluster.program(0, f"{PROGRAMS}/retire.py", cluster.hosts[2].ip)
    assert "done" in cluster.end(program)


def test_work_moves_when_a_host_is_lost_for_good(net: Any, quick_death: Any) -> None:
    """Tasks are tried again elsewhere, the actor is made anew there."""
    program = quick_death.begin(0, f"{PROGRAMS}/move.py", "host3")
    net.expect(program, "ready")
    quick_death.hosts[2].link(up=False)
    out = quick_death.end(program, timeout=100)
    assert float(out.split()[1]) < 40
