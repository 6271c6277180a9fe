"""The cluster as people look at it: read from a control store without a cluster."""

from __future__ import annotations

from typing import Any

import pytest

from ray_on_dask.core import overview
from ray_on_dask.core.cluster_metrics import families
from ray_on_dask.core.control import ControlStore, NodeFacts
from ray_on_dask.wire import messages as m


def facts(name: str, **resources: int) -> NodeFacts:
    units = {key: quantity * 10_000 for key, quantity in resources.items()}
    return NodeFacts(name, f"tcp://{name}", "10.0.0.1", "h", "h", "hub", "shm", "dir", 1, units)


@pytest.fixture(name="store")
def one_node_and_a_driver() -> ControlStore:
    store = ControlStore(lambda kind, facts: b"error")
    store.node_up(facts("n", CPU=2), 0.0)
    store.joined("n", m.Hello("d" * 16, "driver", 7, m.JobConfig()), 0.0)
    return store


def want(store: ControlStore, number: int, wanted: int, now: float, **units: int) -> list[Any]:
    spec = m.SchedulingClass({name: quantity * 10_000 for name, quantity in units.items()})
    return store.handle("d" * 16, m.Demand(number, wanted, spec), now)


def serve(store: ControlStore, lease: int, executor: str) -> None:
    store.joined("n", m.Hello(executor, "executor", 8), 0.0)
    store.handle("n", m.LeaseStarted(lease, executor, "address", 8, []), 0.0)


def test_what_waits_is_listed_with_the_reason(store: ControlStore) -> None:
    want(store, 1, 3, 0.0, CPU=1)
    want(store, 2, 1, 0.5, CPU=4)
    want(store, 3, 1, 0.5, GPU=1, CPU=1)
    found = overview.demands(store, 2.0)
    assert [x["wanted"] for x in found] == [1, 1, 1]
    assert "CPU is in use: 1 wanted, 0 free" in [x["why"] for x in found]
    assert "no node has it: CPU: 4 wanted, 2 on one node" in [x["why"] for x in found]
    assert "no node has it: GPU: 1 wanted, 0 on one node" in [x["why"] for x in found]
    assert {x["job"] for x in found} == {1}


def test_functions_that_share_a_class_are_named(store: ControlStore) -> None:
    want(store, 1, 3, 0.0, GPU=1)
    owner = "d" * 16
    store.handle(owner, m.Demand(1, 3, names=["load"]), 0.5)
    assert overview.demands(store, 1.0)[0]["what"] == "load"
    store.handle(owner, m.Demand(1, 4, names=["load", "train"]), 0.5)
    store.handle(owner, m.Demand(1, 5), 0.5)
    assert overview.demands(store, 1.0)[0]["what"] == "load, train"


def test_without_nodes_and_with_leaving_ones_the_reason_is_that(store: ControlStore) -> None:
    want(store, 1, 3, 0.0, CPU=1)
    store.leases.drain_node("n")
    assert overview.demands(store, 1.0)[0]["why"].endswith("about to leave")
    store.node_down("n", "gone", 1.0)
    store.joined("x", m.Hello("e" * 16, "driver", 7, m.JobConfig()), 1.0)
    store.handle("e" * 16, m.Demand(1, 1, m.SchedulingClass({"CPU": 1})), 1.0)
    assert [x["why"] for x in overview.demands(store, 1.0)] == ["the cluster has no node"]


def test_lent_cpus_are_shown(store: ControlStore) -> None:
    lease = want(store, 1, 1, 0.0, CPU=1)[0].message.lease
    serve(store, lease, "x" * 16)
    (executor,) = overview.executors(store)
    assert (executor["state"], executor["holds"]) == ("leased", {"CPU": 1.0})
    store.handle("x" * 16, m.Blocked(lease), 0.1)
    (node,) = overview.nodes(store)
    assert (node["free"]["CPU"], node["lent"]) == (2.0, {"CPU": 1.0})
    assert overview.executors(store)[0]["state"] == "blocked"


def test_calls_are_counted_by_actor_over_its_restarts(store: ControlStore) -> None:
    actor = b"a" * 16
    for name in ("x" * 16, "y" * 16):
        store.joined("n", m.Hello(name, "executor", 8), 0.0)
        store.actors._by_process[name] = actor
        events = m.TaskEvents(1, 8, [], {"A.f": (3, 0.1, 1)}, 5)
        assert store.handle(name, events, 0.0)[0].message is events
        assert store.tally.actors[actor].waiting == 5
        del store.actors._by_process[name]
    work = store.tally.actors[actor]
    assert (work.done, work.failed) == (6, 2)
    store.lost(m.Lost("x" * 16, "killed"), 1.0)
    assert "x" * 16 not in store.tally.processes
    store.handle("x" * 16, m.TaskEvents(1, 8, [], {}, 9), 1.0)  # its last words come late
    assert "x" * 16 not in store.tally.processes


def test_metrics_of_an_empty_and_of_a_busy_cluster(store: ControlStore) -> None:
    empty = ControlStore(lambda kind, facts: b"")
    assert families(empty, {}, {}, {}, 0.0)
    want(store, 1, 3, 0.0, CPU=1)
    found = {
        (x.name, *labels.values()): value
        for x in families(
            store, {"f": [3, 1.5, 1]}, {"task": 1}, {"n": {"store": {"used": 9}}}, 2.0
        )
        for _, labels, value in x.samples
    }
    node = ("10.0.0.1", "n")
    assert found[("ray_resources", *node, "CPU", "USED")] == 2
    assert found["ray_tasks", "f", "FINISHED"] == 2
    assert found["ray_on_dask_pending_leases", "task"] == 1
    assert found[("ray_on_dask_longest_wait_seconds",)] == 2.0
    assert found[("ray_object_store_used_memory", *node)] == 9
