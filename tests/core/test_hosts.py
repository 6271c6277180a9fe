"""What the control store decides about things that cross hosts."""

from __future__ import annotations

import pytest

from ray_on_dask.core.control import HANDED_OVER, ControlStore, NodeFacts
from ray_on_dask.core.instructions import Send
from ray_on_dask.core.resources import UNITS
from ray_on_dask.wire import messages as m

OWNER = "aa" * 8
ID = bytes.fromhex(OWNER) + bytes(16)
CPU = m.SchedulingClass({"CPU": UNITS}, name="task")


def facts(name, host):
    return NodeFacts(
        name, f"tcp://{name}", "ip", name, host, "", "", "", 1, {"CPU": 2 * UNITS}
    )  # fmt: skip


def at(node):
    return m.Located(node, f"/dev/shm/{node}", 0, 10)


@pytest.fixture
def store():
    """Nodes a1 and a2 on one host, b on another; an owner at a1."""
    store = ControlStore(lambda kind, facts: kind.encode())
    for name, host in (("a1", "a"), ("a2", "a"), ("b", "b")):
        store.node_up(facts(name, host), 0.0)
    store.joined("a1", m.Hello(OWNER, "driver", 1), 0.0)
    yield store
    store.validate()


def said(out, kind):
    return [x for x in out if isinstance(x, Send) and type(x.message) is kind]


def lease_on(store, node):
    spec = m.SchedulingClass({"CPU": UNITS}, f'{{"node_id": "{node}"}}', name="task")
    number = len(store.leases.demands) + 1
    (start,) = said(store.handle(OWNER, m.Demand(number, 1, spec), 1.0), m.StartLease)
    lease = start.message.lease
    store.joined(node, m.Hello(f"x{lease}", "executor", 1), 1.0)
    out = store.handle(node, m.LeaseStarted(lease, f"x{lease}", "/socket", 1), 1.0)
    (granted,) = said(out, m.Granted)
    return granted.message


def test_an_executors_socket_is_told_to_owners_on_its_host_alone(store):
    assert lease_on(store, "a1").address == "/socket"
    assert lease_on(store, "a2").address == "/socket"
    assert (lease_on(store, "b").address, lease_on(store, "b").node) == ("", "b")


def test_a_driver_behind_a_gateway_is_on_no_nodes_host(store):
    store.gateways.up(facts("g", "laptop"), 0.0)
    assert "g" not in store.leases.nodes and "g" not in store.nodes
    store.joined("g", m.Hello("bb" * 8, "driver", 1), 0.0)
    (start,) = said(store.handle("bb" * 8, m.Demand(1, 1, CPU), 1.0), m.StartLease)
    lease = start.message.lease
    out = store.handle(start.to, m.LeaseStarted(lease, "x", "/socket", 1), 1.0)
    assert [x.message.address for x in said(out, m.Granted)] == [""]


def test_a_gateway_takes_its_driver_with_it_and_leaves_what_was_handed_over(store):
    store.gateways.up(facts("g", "laptop"), 0.0)
    driver = "bb" * 8
    store.joined("g", m.Hello(driver, "driver", 1), 0.0)
    id = bytes.fromhex(driver) + bytes(16)
    store.handle(driver, m.Promote(id, m.Value(m.STORED, b"", at("g"))), 1.0)
    store.handle(OWNER, m.Hold(id, OWNER), 1.0)
    ask = {"id": id, "home": "g"}
    assert store.questions._about_holders("b", **ask) == {"nodes": [], "coming": True}
    store.handle("b", m.Copied(id, at("b"), "g"), 1.0)
    assert store.questions._about_holders("a1", **ask) == {"nodes": ["b"], "coming": False}
    out = store.gateways.down("g", "gone", 2.0)
    assert driver not in store.members
    assert said(out, m.JobEnded)
    (told,) = said(store.handle(OWNER, m.Subscribe([id]), 2.0), m.Resolved)
    assert told.message.value.at == at("b")


def test_a_copy_is_the_object_when_its_node_dies(store):
    store.handle(OWNER, m.Promote(ID, m.Value(m.STORED, b"", at("b"))), 1.0)
    store.handle("a2", m.Copied(ID, at("a2"), "b"), 1.0)
    out = store.node_down("b", "gone", 2.0)
    (word,) = [x.message for x in said(out, m.NodeLost) if x.to == OWNER]
    assert word.moved == [(ID, at("a2"))]
    assert store.directory.stored_on("a2") == [ID]
    # The owner frees it where it believes it to be.
    out = store.handle(OWNER, m.FreeObjects([ID], "b"), 3.0)
    assert [x.to for x in said(out, m.FreeObjects)] == ["a2"]


def test_a_node_that_retires_has_a_moment_for_what_it_has_handed_over(store):
    """Dask has its keys elsewhere, and who has them is about to say so."""
    store.handle(OWNER, m.Promote(ID, m.Value(m.STORED, b"", at("b"))), 1.0)
    store.retiring["b"] = HANDED_OVER
    assert not said(store.node_down("b", "retired", 2.0), m.NodeLost)
    assert store.questions._about_holders("a1", id=ID, home="b")["coming"]
    store.handle("a2", m.Copied(ID, at("a2"), "b"), 2.5)
    out = store.tick(2.1 + HANDED_OVER)
    (word,) = [x.message for x in said(out, m.NodeLost) if x.to == OWNER]
    assert word.moved == [(ID, at("a2"))]


def test_no_tasks_go_where_their_owner_cannot_reach_them_for_a_while(store):
    """Owners at a1 alone: others reach the node."""
    store.handle("a1", m.Unreachable("b"), 1.0)
    store.joined("a2", m.Hello("bb" * 8, "driver", 1), 1.0)
    out = store.handle(OWNER, m.Demand(1, 6, CPU), 1.0)
    assert {x.to for x in said(out, m.StartLease)} == {"a1", "a2"}
    out = store.handle("bb" * 8, m.Demand(1, 1, CPU), 1.0)
    assert [x.to for x in said(out, m.StartLease)] == ["b"]
    assert not said(store.tick(50.0), m.StartLease)
    assert [x.to for x in said(store.tick(70.0), m.StartLease)] == ["b"]


def test_leases_go_where_most_bytes_are_if_they_fit_there(store):
    near_b = m.SchedulingClass({"CPU": UNITS}, name="task", near="b")
    out = store.handle(OWNER, m.Demand(1, 3, near_b, False, {"b": 1 << 20}), 1.0)
    nodes = [x.to for x in said(out, m.StartLease)]
    assert nodes[:2] == ["b", "b"]
    assert nodes[2] != "b"
