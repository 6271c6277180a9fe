"""Three hosts with TLS between them: what crosses from one to another."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = [pytest.mark.cluster, pytest.mark.hosts, pytest.mark.timeout(120)]
PROGRAMS = "tests/cluster/programs"


#: A host with a node, and one without.
DRIVERS = pytest.mark.parametrize("driver", [0, 3], ids=["node", "gateway"])


@DRIVERS
def test_calls_go_to_other_hosts_and_results_come_back(secure_cluster: Any, driver: int) -> None:
    """Tasks, actors, generators, errors and cancels."""
    out = secure_cluster.program(driver, f"{PROGRAMS}/calls.py", "host2", "host3")
    assert f"done on host{driver + 1}" in out
    assert out.count("heard from afar") == 2


def stored(cluster: Any) -> int:
    """Bytes of objects that Dask knows of on all hosts: none where all is freed."""
    return int(cluster.hosts[0].python(f"{PROGRAMS}/stored.py", cluster.address, **cluster.tls))


@DRIVERS
def test_objects_go_between_hosts_and_are_freed_everywhere(
    net: Any, secure_cluster: Any, driver: int
) -> None:
    """Copies too, once nobody can reach the object."""
    program = secure_cluster.begin(driver, f"{PROGRAMS}/objects.py", "host2", "host3")
    net.expect(program, "used")
    assert stored(secure_cluster) > 0
    program.stdin.write("\n")
    program.stdin.flush()
    net.expect(program, "let go")
    net.wait_until(lambda: stored(secure_cluster) == 0, 20, "all objects are freed")
    secure_cluster.end(program)
