"""Three hosts with TLS between them: what crosses from one to another."""

from __future__ import annotations

import json
import sys
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


@DRIVERS
def test_folders_of_a_runtime_environment_travel(secure_cluster: Any, driver: int) -> None:
    assert "done" in secure_cluster.program(driver, f"{PROGRAMS}/folders.py", "host2", "host3")


def stored(cluster: Any) -> int:
    """Bytes of objects that Dask knows of on all hosts: none where all is freed."""
    return int(
        cluster.hosts[0].python(f"{PROGRAMS}/stored.py", cluster.address, **cluster.environment)
    )


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


def test_tasks_go_where_most_of_what_they_read_is(secure_cluster: Any) -> None:
    assert "done" in secure_cluster.program(0, f"{PROGRAMS}/locality.py", "host3")


def test_one_program_gives_the_same_on_every_kind_of_cluster(secure_cluster: Any) -> None:
    """A local one, hosts with TLS (with and without a node of the driver's own), and others."""
    everywhere, plain = f"{PROGRAMS}/everywhere.py", secure_cluster.hosts[3]
    local = plain.python(everywhere)
    assert json.loads(local)["fib"] == 5
    for driver in (0, 3):
        assert secure_cluster.program(driver, everywhere) == local
    assert plain.python(f"{PROGRAMS}/in_subprocess_cluster.py", timeout=90) == local
    address = "tcp://127.0.0.1:8790"
    started = [
        plain.start(sys.executable, "-m", "dask", *command, "--no-dashboard")
        for command in (
            ["scheduler", "--host", "127.0.0.1", "--port", "8790"],
            *[["worker", address, "--nthreads", "1", "--host", "127.0.0.1"]] * 2,
        )
    ]
    assert plain.python(everywhere, address) == local
    for process in started:
        process.terminate()


def test_nothing_is_left_of_a_driver_that_is_killed_behind_a_gateway(
    net: Any, secure_cluster: Any
) -> None:
    host = secure_cluster.hosts[3]
    before = {*host.listed(), *host.listed("/tmp")}
    program = secure_cluster.begin(3, f"{PROGRAMS}/idle.py")
    net.expect(program, "ready")
    assert {*host.listed()} - before
    assert stored(secure_cluster) > 0
    program.kill()
    net.wait_until(lambda: not {*host.listed(), *host.listed("/tmp")} - before, 10, "its files go")
    net.wait_until(lambda: stored(secure_cluster) == 0, 30, "what it had put is freed")


def test_a_driver_without_certificates_is_told_so(secure_cluster: Any) -> None:
    """And so is one that says tcp:// where tls:// is meant."""
    program = (
        "import ray_on_dask as ray\n"
        "try:\n    ray.init({!r})\nexcept ConnectionError as error:\n    print('told:', error)"
    )
    for address in (secure_cluster.address, secure_cluster.address.replace("tls:", "tcp:")):
        out = secure_cluster.hosts[3].python(
            "-c", program.format(address), DASK_RAY_ON_DASK__CONNECT_TIMEOUT="2"
        )
        assert "told:" in out and address in out
