"""Three hosts with TLS between them: what crosses from one to another."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = [pytest.mark.cluster, pytest.mark.hosts, pytest.mark.timeout(120)]
PROGRAMS = "tests/cluster/programs"


def test_calls_go_to_other_hosts_and_results_come_back(secure_cluster: Any) -> None:
    """Tasks, actors, generators, errors and cancels, from a driver on the first host."""
    out = secure_cluster.program(0, f"{PROGRAMS}/calls.py", "host2", "host3")
    assert "done on host1" in out
    assert out.count("heard from afar") == 2
