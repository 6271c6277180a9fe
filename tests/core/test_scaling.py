"""How many nodes are wanted, which may go, and what happens on one that leaves."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ray_on_dask.core.control import ControlStore, NodeFacts
from ray_on_dask.core.instructions import Send
from ray_on_dask.core.resources import UNITS
from ray_on_dask.core.scaling import AWAITED, MOST_NEW, Scaling
from ray_on_dask.wire import messages as m


def units(**quantities: float) -> dict[str, int]:
    return {name: int(quantity * UNITS) for name, quantity in quantities.items()}


class Cluster:
    """A control store with a driver on the node `home`, and a clock."""

    def __init__(self, **nodes: float) -> None:
        self.store = ControlStore(lambda kind, facts: kind.encode())
        self.scaling = Scaling(self.store)
        self.now = 10.0
        for name, count in nodes.items():
            self.add(name, CPU=count)
        self.drivers = 0

    def add(self, name: str, labels: dict[str, str] | None = None, **resources: float) -> None:
        facts = NodeFacts(
            name, f"tcp://{name}", "", name, name, "", "", "", 1,
            {**units(**resources), f"node:{name}": UNITS}, labels or {},
        )  # fmt: skip
        self.start(self.store.node_up(facts, self.now))

    def driver(self, node: str) -> str:
        self.drivers += 1
        name = f"driver{self.drivers}"
        self.store.joined(node, m.Hello(name, "driver", 1), self.now)
        return name

    def want(self, owner: str, count: int, strategy: str = "DEFAULT", **resources: float) -> None:
        spec = m.SchedulingClass(units(**(resources or {"CPU": 1})), strategy)
        self.tell(owner, m.Demand(hash((strategy, *resources)) & 0xFFFF, count, spec))

    def tell(self, sender: str, message: Any) -> list[Any]:
        out = self.store.handle(sender, message, self.now)
        self.start(out)
        return out

    def start(self, out: list[Any]) -> None:
        """Answer each `StartLease` as its node would."""
        for send in out:
            if isinstance(send, Send) and type(send.message) is m.StartLease:
                number = send.message.lease
                self.tell(send.to, m.LeaseStarted(number, f"x{number}", "", 1))

    def wanted(self, wait: float = 1.0) -> int:
        self.now += wait
        self.store.validate()
        return self.scaling.nodes_wanted(self.now, self.scaling.busy())


# -- how many ----------------------------------------------------------------------------


def test_an_idle_cluster_wants_no_node_but_those_that_drivers_hang_on() -> None:
    cluster = Cluster(a=2, b=2)
    assert cluster.wanted() == 0 and cluster.scaling.busy() == set()
    cluster.driver("b")
    assert cluster.wanted() == 1 and cluster.scaling.busy() == {"b"}


def test_what_waits_wants_nodes_like_those_there_are() -> None:
    cluster = Cluster(a=4)
    driver = cluster.driver("a")
    cluster.want(driver, 13)
    assert cluster.wanted() == 4


def test_what_is_free_is_used_first() -> None:
    cluster = Cluster(a=4, b=4, c=4)
    driver = cluster.driver("a")
    cluster.want(driver, 2)
    assert cluster.wanted() == 1
    cluster.want(driver, 9, CPU=1, disk=1)
    assert cluster.wanted() == 1, "no node like these has that"


def test_short_waits_want_nothing_but_the_first_node() -> None:
    cluster = Cluster(a=1)
    cluster.want(cluster.driver("a"), 5)
    assert cluster.wanted(0.1) == 1
    assert cluster.wanted(1.0) == 5


def test_who_finds_no_node_at_all_is_given_one() -> None:
    cluster = Cluster()
    assert cluster.wanted() == 0
    cluster.scaling.awaited(cluster.now)
    assert cluster.wanted() == 1
    assert cluster.wanted(AWAITED) == 0


def test_demand_on_a_cluster_that_has_lost_all_its_nodes_brings_them_back() -> None:
    cluster = Cluster(a=2)
    cluster.add("b", CPU=2)
    driver = cluster.driver("a")
    cluster.want(driver, 6)
    assert cluster.wanted() == 3
    cluster.store.node_down("b", "retired", cluster.now)
    assert cluster.wanted() == 3


def test_what_no_node_like_these_could_serve_makes_none_come() -> None:
    cluster = Cluster(a=2)
    driver = cluster.driver("a")
    cluster.want(driver, 3, GPU=1)
    cluster.want(driver, 3, json.dumps({"node_id": "gone", "soft": False}))
    cluster.want(driver, 3, json.dumps({"hard": {"zone": ["in", ["b"]]}}))
    assert cluster.wanted() == 1


def test_labels_of_nodes_count() -> None:
    cluster = Cluster()
    cluster.add("a", {"zone": "b"}, CPU=1)
    cluster.want(cluster.driver("a"), 3, json.dumps({"hard": {"zone": ["in", ["b"]]}}))
    assert cluster.wanted() == 3


@pytest.mark.parametrize(
    ("strategy", "nodes"), [("PACK", 2), ("SPREAD", 2), ("STRICT_PACK", 2), ("STRICT_SPREAD", 4)]
)
def test_placement_groups_want_as_many_nodes_as_they_need(strategy: str, nodes: int) -> None:
    cluster = Cluster(a=4)
    driver = cluster.driver("a")
    cluster.want(driver, 3)
    cluster.tell(driver, m.CreateGroup(b"g" * 18, [units(CPU=1)] * 4, strategy))
    assert cluster.wanted() == nodes


def test_what_is_requested_fits_whether_or_not_it_is_wanted() -> None:
    cluster = Cluster(a=4)
    driver = cluster.driver("a")
    cluster.want(driver, 3)
    cluster.scaling.request(10, [])
    assert cluster.wanted() == 3, "what runs is part of it"
    cluster.scaling.request(2, [{"CPU": 3}, {"CPU": 3.0}])
    assert cluster.wanted() == 2
    cluster.scaling.request(0, [])
    assert cluster.wanted() == 1


def test_there_is_a_limit() -> None:
    cluster = Cluster(a=1)
    cluster.want(cluster.driver("a"), 1_000_000)
    assert cluster.wanted() == MOST_NEW + 1


# -- which may go ------------------------------------------------------------------------


def test_nodes_with_leases_bundles_drivers_and_owners_are_busy() -> None:
    cluster = Cluster(lease=1, owner=1, driver=1, group=1, dask=1, idle=1)
    driver = cluster.driver("driver")
    busy = cluster.scaling.busy
    assert busy() == {"driver"}
    pin = {"soft": False}
    cluster.want(driver, 1, json.dumps({**pin, "node_id": "lease"}))
    assert busy() == {"driver", "lease"}
    cluster.tell(driver, m.CreateGroup(b"g" * 18, [units(CPU=1)], "STRICT_PACK", target="group"))
    assert busy() == {"driver", "lease", "group"}
    cluster.store.leases.set_external("dask", UNITS, cluster.now)
    cluster.store.joined("owner", m.Hello("x", "executor", 2), cluster.now)
    cluster.tell("x", m.Promote(b"x" * 20, m.Value(m.PENDING)))
    assert busy() == {"driver", "lease", "group", "dask", "owner"}
    assert cluster.scaling.in_use()


def test_a_cluster_is_in_use_while_a_driver_is_there_or_something_runs() -> None:
    cluster = Cluster(a=1)
    assert not cluster.scaling.in_use()
    driver = cluster.driver("a")
    assert cluster.scaling.in_use()
    cluster.store.lost(m.Lost(driver, "left"), cluster.now)
    assert not cluster.scaling.in_use()


# -- letting go --------------------------------------------------------------------------


def test_a_node_that_leaves_gets_nothing_new_and_its_leases_are_called_back() -> None:
    cluster = Cluster(a=2, b=2)
    driver = cluster.driver("a")
    cluster.want(driver, 4)
    scaling = cluster.scaling
    out = cluster.store._settle(scaling.drain("b", True, cluster.now), cluster.now)
    ended = [send for send in out if type(send.message) is m.EndLease]
    assert len(ended) == 2 and scaling.runs_tasks("b")
    assert scaling.drain("b", True, cluster.now) == []
    for send in ended:
        cluster.tell(send.to, m.LeaseEnded(send.message.lease))
    assert not scaling.runs_tasks("b")
    assert all(lease.node.name == "a" for lease in cluster.store.leases.leases.values())
    assert cluster.wanted() == 2, "one that can take what the other had"


def test_a_node_that_stays_after_all_is_used_again() -> None:
    cluster = Cluster(a=1, b=1)
    driver = cluster.driver("a")
    cluster.scaling.drain("b", True, cluster.now)
    cluster.want(driver, 2)
    assert len(cluster.store.leases.leases) == 1
    cluster.scaling.drain("b", False, cluster.now)
    cluster.start(cluster.store.tick(cluster.now + 0.1))
    assert len(cluster.store.leases.leases) == 2
