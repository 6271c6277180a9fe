"""Placement groups: which nodes bundles go to, and what the ledger has before and after."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from ray_on_dask.core.bundles import STRATEGIES, Wanted, plan
from ray_on_dask.core.control import ControlStore, NodeFacts
from ray_on_dask.core.group_record import CREATED, PENDING, REMOVED, RESCHEDULING
from ray_on_dask.core.leases import CallBack, Grant, Leases
from ray_on_dask.core.placement import PlacementGroups
from ray_on_dask.core.resources import UNITS
from ray_on_dask.wire import messages as m


def cpus(count: float) -> dict[str, int]:
    return {"CPU": int(count * UNITS)}


def group_id(number: int) -> bytes:
    return number.to_bytes(18, "big")


class Cluster:
    """A ledger with placement groups, and a clock."""

    def __init__(self, **nodes: float):
        self.leases = Leases()
        self.groups = PlacementGroups(self.leases, lambda kind, facts: kind.encode())
        self.now = 0.0
        self.out: list[Any] = []
        for name, count in nodes.items():
            self.add(name, count)

    def add(self, name: str, count: float) -> None:
        self.out += self.leases.add_node(name, cpus(count), self.now)
        self.groups.node_joined()
        self.settle()

    def lose(self, name: str) -> None:
        self.leases.remove_node(name, self.now)
        self.out += self.groups.node_lost(name, self.now)
        self.settle()

    def settle(self) -> None:
        while self.groups.due(self.now):
            self.out += self.groups.work(self.now)
        self.leases.validate()
        self.groups.validate()

    def create(
        self, number: int, bundles: list[dict[str, int]], strategy: str = "PACK", **more: Any
    ) -> Any:
        message = m.CreateGroup(group_id(number), bundles, strategy, **more)
        self.out += self.groups.create("driver", 1, message, self.now)
        self.settle()
        return self.groups.groups[group_id(number)]

    def remove(self, number: int) -> None:
        self.out += self.groups.remove(group_id(number), self.now)
        self.settle()

    def free(self, name: str = "CPU") -> dict[str, float]:
        return {n.name: n.ledger.free.get(name, 0) / UNITS for n in self.leases.nodes.values()}

    def demand(
        self, owner: str, wanted: int, resources: dict[str, int], number: int = 1
    ) -> list[Any]:
        spec = m.SchedulingClass(resources)
        key = (owner, number)
        assert not self.groups.entered(key, resources)
        out = self.leases.demand(owner, number, wanted, self.now, spec=spec)
        self.out += out
        self.settle()
        return [what.lease for what in out if isinstance(what, Grant)]


def nodes_of(group: Any) -> list[str]:
    return [group.seats[index].node for index in sorted(group.seats)]


# -- strategies ------------------------------------------------------------------------


def test_pack_uses_as_few_nodes_as_it_can() -> None:
    group = Cluster(a=2, b=4).create(1, [cpus(1)] * 4)
    assert nodes_of(group) == ["b"] * 4


def test_pack_goes_on_to_another_node_when_one_is_full() -> None:
    group = Cluster(a=2, b=4).create(1, [cpus(1)] * 6)
    assert sorted(nodes_of(group)) == ["a", "a", "b", "b", "b", "b"]


def test_pack_places_the_largest_first() -> None:
    """Filled by the small ones, the large node would have no room left for the large one."""
    group = Cluster(a=2, b=4).create(1, [cpus(1), cpus(1), cpus(4)])
    assert nodes_of(group) == ["a", "a", "b"]


def test_strict_pack_takes_one_node_or_none() -> None:
    cluster = Cluster(a=2, b=2)
    assert cluster.create(1, [cpus(1)] * 3, "STRICT_PACK").state == PENDING
    assert cluster.free() == {"a": 2, "b": 2}
    assert len(set(nodes_of(cluster.create(2, [cpus(1)] * 2, "STRICT_PACK")))) == 1


def test_strict_pack_prefers_its_target() -> None:
    group = Cluster(a=2, b=2, c=2).create(1, [cpus(1)], "STRICT_PACK", target="c")
    assert nodes_of(group) == ["c"]


def test_spread_uses_all_nodes_evenly() -> None:
    group = Cluster(a=4, b=4, c=4).create(1, [cpus(1)] * 6, "SPREAD")
    assert sorted(nodes_of(group)) == ["a", "a", "b", "b", "c", "c"]


def test_strict_spread_never_uses_a_node_twice() -> None:
    cluster = Cluster(a=4, b=4)
    assert len(set(nodes_of(cluster.create(1, [cpus(1)] * 2, "STRICT_SPREAD")))) == 2
    assert cluster.create(2, [cpus(1)] * 3, "STRICT_SPREAD").state == PENDING


def test_strict_spread_finds_the_only_matching() -> None:
    """The bundle that fits everywhere must leave the node that another one needs."""
    room = {"a": {"CPU": 1, "GPU": 1}, "b": {"CPU": 1}}
    wanted = Wanted({0: {"CPU": 1}, 1: {"GPU": 1}}, "STRICT_SPREAD")
    assert plan(wanted, room) == {0: "b", 1: "a"}


def test_strict_spread_moves_others_along_a_path() -> None:
    room = {
        "a": {"CPU": 1, "x": 1, "y": 1},
        "b": {"CPU": 1, "y": 1},
        "c": {"CPU": 1, "x": 1, "y": 1, "z": 1},
    }
    wanted = Wanted({0: {"y": 1}, 1: {"x": 1}, 2: {"z": 1}}, "STRICT_SPREAD")
    assert plan(wanted, room) == {0: "b", 1: "a", 2: "c"}


# -- all or nothing, and back ----------------------------------------------------------


def test_a_group_gains_resources_of_its_own() -> None:
    cluster = Cluster(a=4)
    group = cluster.create(1, [cpus(1), cpus(2)])
    assert cluster.free() == {"a": 1}
    assert cluster.free(f"CPU_group_{group.hex}") == {"a": 3}
    assert cluster.free(f"CPU_group_1_{group.hex}") == {"a": 2}
    assert cluster.free(f"bundle_group_{group.hex}") == {"a": 2000}
    assert cluster.leases.nodes["a"].ledger.total["CPU"] == 4 * UNITS


def test_removal_gives_everything_back() -> None:
    cluster = Cluster(a=4)
    before = dict(cluster.leases.nodes["a"].ledger.free)
    cluster.create(1, [cpus(1), cpus(2)])
    cluster.remove(1)
    assert cluster.leases.nodes["a"].ledger.free == before
    assert not cluster.leases.leases and not cluster.leases.demands


def test_a_group_waits_until_another_is_removed() -> None:
    cluster = Cluster(a=2)
    cluster.create(1, [cpus(2)])
    second = cluster.create(2, [cpus(1)])
    assert second.state == PENDING
    cluster.remove(1)
    assert second.state == CREATED


def test_a_group_waits_until_a_lease_ends() -> None:
    cluster = Cluster(a=2)
    lease, _ = cluster.demand("owner", 2, cpus(1))
    group = cluster.create(1, [cpus(1)])
    assert group.state == PENDING
    cluster.demand("owner", 1, cpus(1))
    cluster.out += cluster.leases.ended(lease.id, cluster.now)
    cluster.settle()
    assert group.state == CREATED


def test_tasks_in_a_group_hold_up_its_resources_until_they_end() -> None:
    cluster = Cluster(a=2)
    group = cluster.create(1, [cpus(2)])
    (lease,) = cluster.demand("owner", 1, {f"CPU_group_{group.hex}": UNITS})
    cluster.remove(1)
    assert cluster.free() == {"a": 0}
    ended = [what for what in cluster.out if type(what).__name__ == "EndUser"]
    assert [what.key for what in ended] == [("owner", 1)]
    cluster.leases.demand("owner", 1, 0, cluster.now)
    cluster.leases.ended(lease.id, cluster.now)
    cluster.settle()
    assert cluster.free() == {"a": 2}
    assert not cluster.groups.removing


def test_what_a_blocked_task_lends_is_lent_within_the_group() -> None:
    cluster = Cluster(a=3)
    name = f"CPU_group_{cluster.create(1, [cpus(1)]).hex}"
    (lease,) = cluster.demand("owner", 1, {name: UNITS})
    cluster.leases.blocked(lease.id, cluster.now)
    assert cluster.free() == {"a": 2}
    assert cluster.free(name) == {"a": 1}
    cluster.leases.unblocked(lease.id)
    assert cluster.free(name) == {"a": 0}
    cluster.settle()


def test_a_removed_group_refuses_newcomers() -> None:
    cluster = Cluster(a=2)
    group = cluster.create(1, [cpus(1)])
    cluster.remove(1)
    error = cluster.groups.entered(("x", 1), [f"CPU_group_{group.hex}"])
    assert error == b"TaskPlacementGroupRemoved"
    assert cluster.groups.about(group_id(1))["state"] == REMOVED


# -- names, jobs, nodes ----------------------------------------------------------------


def test_a_name_is_taken_while_its_group_lives() -> None:
    cluster = Cluster(a=2)
    cluster.create(1, [cpus(1)], name="x", namespace="n")
    assert cluster.create(2, [cpus(1)], name="x", namespace="n").refused
    assert cluster.create(3, [cpus(1)], name="x", namespace="other").state == CREATED
    assert cluster.groups.find("x", "n")["id"] == group_id(1)
    cluster.remove(1)
    assert not cluster.groups.find("x", "n")
    assert not cluster.create(4, [cpus(1)], name="x", namespace="n").refused


def test_a_job_takes_its_groups_with_it_but_for_detached_ones() -> None:
    cluster = Cluster(a=3)
    one, two = cluster.create(1, [cpus(1)]), cluster.create(2, [cpus(1)], detached=True)
    cluster.groups.job_ended(1, 1.0)
    cluster.settle()
    assert (one.state, two.state) == (REMOVED, CREATED)


def test_bundles_of_a_lost_node_move_to_another() -> None:
    cluster = Cluster(a=1, b=1)
    group = cluster.create(1, [cpus(1), cpus(1)], "SPREAD")
    kept = next(index for index, seat in group.seats.items() if seat.node == "b")
    cluster.lose("a")
    assert group.state == RESCHEDULING
    assert list(group.seats) == [kept]
    cluster.add("c", 1)
    assert group.state == CREATED
    assert sorted(nodes_of(group)) == ["b", "c"]
    states = [what.message.state for what in cluster.out if hasattr(what, "message")]
    assert states == [CREATED, RESCHEDULING, CREATED]


def test_a_watcher_is_told_of_a_group_that_comes_later() -> None:
    """The word of a handle's arrival and the group's creation travel on different lines."""
    cluster = Cluster(a=1)
    assert cluster.groups.watch("other", group_id(1)) == []
    cluster.create(1, [cpus(1)])
    told = {what.to for what in cluster.out if getattr(what, "message", None)}
    assert told == {"driver", "other"}


# -- waiting long ----------------------------------------------------------------------


def test_leases_are_called_back_for_a_group_that_waits() -> None:
    """A stream of short tasks keeps its leases: without being called back they never end."""
    cluster = Cluster(a=2)
    first, second = cluster.demand("owner", 5, cpus(1))
    group = cluster.create(1, [cpus(2)])
    cluster.now = 1.0
    out = cluster.groups.tick(cluster.now)
    assert {what.lease.id for what in out if isinstance(what, CallBack)} == {first.id, second.id}
    for lease in (first, second):
        cluster.leases.ended(lease.id, cluster.now)
        cluster.settle()
    assert group.state == CREATED
    cluster.remove(1)
    assert cluster.free() == {"a": 0}  # the owner has its leases again


def test_room_is_kept_on_no_more_nodes_than_are_needed() -> None:
    cluster = Cluster(a=2, b=2)
    cluster.demand("owner", 4, cpus(1))
    cluster.create(1, [cpus(2)])
    cluster.now = 1.0
    assert len([x for x in cluster.groups.tick(cluster.now) if isinstance(x, CallBack)]) == 2
    cluster.remove(1)
    assert all(node.reserved is None for node in cluster.leases.nodes.values())


def test_people_are_told_once_of_a_group_that_fits_nowhere() -> None:
    cluster = Cluster(a=2)
    cluster.create(1, [cpus(3)])
    cluster.now = 2.0
    told = [what for what in cluster.groups.tick(2.0) if isinstance(what.message, m.Infeasible)]
    assert len(told) == 1
    assert cluster.groups.tick(3.0) == []


# -- the control store -----------------------------------------------------------------


def control_store() -> ControlStore:
    store = ControlStore(lambda kind, facts: kind.encode())
    facts = {"address": "", "ip": "", "hostname": "", "host": "", "hub": "", "shm": "",
             "session_dir": "", "pid": 0}  # fmt: skip
    store.node_up(NodeFacts(name="node", resources=cpus(2), **facts), 0.0)
    store.joined("node", m.Hello("driver", "driver", 1, m.JobConfig()), 0.0)
    return store


def test_removal_fails_what_waits_and_kills_what_runs() -> None:
    store = control_store()
    group = group_id(1)
    store.handle("driver", m.CreateGroup(group, [cpus(1)]), 0.0)
    spec = m.SchedulingClass({f"CPU_group_{group.hex()}": UNITS})
    (start,) = store.handle("driver", m.Demand(1, 5, spec), 0.0)
    store.handle("node", m.LeaseStarted(start.message.lease, "executor", "", 1), 0.0)
    out = [send.message for send in store.handle("driver", m.RemoveGroup(group), 1.0)]
    assert m.LeaseFailed(1, b"TaskPlacementGroupRemoved") in out
    assert [x.lease for x in out if isinstance(x, m.KillLease)] == [start.message.lease]
    store.lost(m.Lost("executor", "killed"), 2.0)
    store.validate()
    assert store.leases.nodes["node"].ledger.free == cpus(2)
    (refused,) = store.handle("driver", m.Demand(1, 1), 3.0)
    assert refused.message == m.LeaseFailed(1, b"TaskPlacementGroupRemoved")


def test_a_dead_driver_leaves_nothing_of_its_groups() -> None:
    store = control_store()
    store.handle("driver", m.CreateGroup(group_id(1), [cpus(1)]), 0.0)
    store.lost(m.Lost("driver", "gone"), 1.0)
    store.validate()
    assert store.leases.nodes["node"].ledger.free == cpus(2)


# -- properties ------------------------------------------------------------------------

BUNDLES = st.lists(
    st.fixed_dictionaries({"CPU": st.integers(1, 3)}, optional={"GPU": st.integers(1, 2)}),
    min_size=1, max_size=5,
)  # fmt: skip
NODES = st.lists(
    st.fixed_dictionaries({"CPU": st.integers(1, 5), "GPU": st.integers(0, 2)}),
    min_size=1, max_size=4,
)  # fmt: skip


@given(NODES, BUNDLES, st.sampled_from(STRATEGIES))
@settings(max_examples=300, deadline=None)
def test_a_plan_fits_and_obeys_its_strategy(
    nodes: list[dict[str, int]], bundles: list[dict[str, int]], strategy: str
) -> None:
    room = {str(number): node for number, node in enumerate(nodes)}
    found = plan(Wanted(dict(enumerate(bundles)), strategy), room)
    if found is None:
        return
    assert sorted(found) == list(range(len(bundles)))
    for name, free in room.items():
        here = [bundles[index] for index, node in found.items() if node == name]
        for resource in ("CPU", "GPU"):
            assert sum(bundle.get(resource, 0) for bundle in here) <= free[resource]
    if strategy == "STRICT_PACK":
        assert len(set(found.values())) == 1
    if strategy == "STRICT_SPREAD":
        assert len(set(found.values())) == len(bundles)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("create"), st.integers(0, 7), BUNDLES, st.sampled_from(STRATEGIES)),
            st.tuples(st.just("remove"), st.integers(0, 7)),
            st.tuples(st.just("lose"), st.sampled_from("abc")),
            st.tuples(st.just("add"), st.sampled_from("abc"), st.integers(1, 6)),
            st.tuples(st.just("demand"), st.integers(0, 7), st.integers(0, 3)),
            st.tuples(st.just("end"), st.integers(0, 9)),
            st.tuples(st.just("tick"), st.floats(0, 2)),
        ),
        max_size=40,
    )
)
@settings(max_examples=150, deadline=None)
def test_nothing_is_promised_twice_and_everything_comes_back(steps: list[tuple[Any, ...]]) -> None:
    cluster = Cluster(a=4, b=2)
    for verb, *rest in steps:
        _do(cluster, verb, rest)
        cluster.settle()
    for number in range(8):
        cluster.remove(number)
    for lease in list(cluster.leases.leases.values()):
        cluster.leases.demand(*lease.demand.key, 0, cluster.now)
        cluster.leases.ended(lease.id, cluster.now)
    cluster.settle()
    for node in cluster.leases.nodes.values():
        assert {name for name, units in node.ledger.free.items() if units} <= {"CPU"}
        assert node.ledger.free["CPU"] == node.ledger.total["CPU"]


def _do(cluster: Cluster, verb: str, rest: list[Any]) -> None:
    if verb == "create" and group_id(rest[0]) not in cluster.groups.groups:
        bundles = [{name: units * UNITS for name, units in x.items()} for x in rest[1]]
        cluster.create(rest[0], bundles, rest[2])
    elif verb == "remove":
        cluster.remove(rest[0])
    elif verb == "lose" and rest[0] in cluster.leases.nodes:
        cluster.lose(rest[0])
    elif verb == "add" and rest[0] not in cluster.leases.nodes:
        cluster.add(*rest)
    elif verb == "demand":
        name = f"CPU_group_{group_id(rest[0]).hex()}"
        if not cluster.groups.entered(("owner", rest[0]), [name]):
            cluster.demand("owner", rest[1], {name: UNITS}, rest[0])
    elif verb == "end" and cluster.leases.leases:
        leases = [x for x in cluster.leases.leases.values() if x.demand.owner == "owner"]
        if leases:
            cluster.leases.ended(leases[rest[0] % len(leases)].id, cluster.now)
    elif verb == "tick":
        cluster.now += rest[0]
        cluster.out += [*cluster.leases.tick(cluster.now), *cluster.groups.tick(cluster.now)]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_thousand_bundles_are_placed_at_once(strategy: str) -> None:
    from time import perf_counter

    cluster = Cluster()
    for number in range(50):
        cluster.leases.add_node(str(number), cpus(1000 if strategy == "STRICT_PACK" else 20), 0.0)
    count = 50 if strategy == "STRICT_SPREAD" else 1000
    start = perf_counter()
    message = m.CreateGroup(group_id(1), [cpus(1)] * count, strategy)
    cluster.groups.create("driver", 1, message, 0.0)
    cluster.groups.work(0.0)
    assert perf_counter() - start < 1.0
    assert cluster.groups.groups[group_id(1)].state == CREATED


# -- labels, and what is missing --------------------------------------------------------


def zone(*names: str) -> dict[str, list[Any]]:
    return {"zone": ["in", list(names)]}


def labelled() -> Cluster:
    cluster = Cluster()
    for name, where in (("a", "1"), ("b", "2"), ("c", "2")):
        cluster.out += cluster.leases.add_node(name, cpus(2), 0.0, {"zone": where})
    return cluster


@pytest.mark.parametrize("strategy", ["PACK", "SPREAD", "STRICT_SPREAD"])
def test_each_bundle_goes_where_its_labels_are(strategy: str) -> None:
    selectors = [zone("2"), zone("1"), {}]
    group = labelled().create(1, [cpus(1)] * 3, strategy, selectors=selectors)
    nodes = nodes_of(group)
    assert nodes[0] in "bc" and nodes[1] == "a"
    assert len(set(nodes)) == {"PACK": 2, "SPREAD": 3, "STRICT_SPREAD": 3}[strategy]


def test_one_node_must_have_all_labels_of_a_strict_pack() -> None:
    cluster = labelled()
    assert cluster.create(1, [cpus(1)] * 2, "STRICT_PACK", selectors=[zone("1"), {}]).state == (
        CREATED
    )
    both = cluster.create(2, [cpus(1)] * 2, "STRICT_PACK", selectors=[zone("1"), zone("2")])
    assert both.state == PENDING


def test_what_a_group_takes_has_no_trace_of_labels() -> None:
    cluster = labelled()
    cluster.create(1, [cpus(1)], selectors=[zone("1")])
    assert not [x for node in cluster.leases.nodes.values() for x in node.ledger.total
                if "label" in x]  # fmt: skip
    cluster.remove(1)
    assert cluster.free() == {"a": 2, "b": 2, "c": 2}


@pytest.mark.parametrize(
    ("bundles", "more", "text"),
    [
        ([cpus(1), cpus(3)], {}, "no node can have bundle 1: CPU: 3 wanted, 2 on one node"),
        ([cpus(2)] * 4, {}, "CPU: 8 wanted, 6 in all"),
        ([cpus(1)] * 4, {"strategy": "STRICT_SPREAD"}, "4 nodes are needed, and there are 3"),
        ([cpus(1)] * 3, {"strategy": "STRICT_PACK"},
         "one node must have all of it: CPU: 3 wanted, 2 on one node"),
        ([cpus(1)], {"selectors": [zone("9")]},
         "no node has the labels of bundle 0 (zone = '9')"),
        ([cpus(1.5)] * 4, {}, "the bundles do not go together on the nodes that there are"),
    ],
)  # fmt: skip
def test_people_are_told_what_is_missing(
    bundles: list[dict[str, int]], more: dict[str, Any], text: str
) -> None:
    cluster = labelled()
    cluster.create(1, bundles, **more)
    told = [what.message.text for what in cluster.groups.tick(2.0)]
    assert len(told) == 1 and f"({text})" in told[0]
    assert cluster.groups.tick(3.0) == []
