"""Who is granted what: one story per rule. Times are seconds of a clock that the test turns."""

from __future__ import annotations

import json

import pytest

from ray_on_dask.core.leases import CallBack, Grant, Leases, Unplaceable
from ray_on_dask.core.policy import Policy
from ray_on_dask.core.resources import UNITS
from ray_on_dask.wire.messages import SchedulingClass


class Cluster(Leases):
    """Leases with whole CPUs in and short answers out; each answer is checked."""

    def node(self, name, now=1.0, labels=None, **resources):
        return self.short(self.add_node(name, units(resources), now, labels))

    def want(self, owner, wanted, now=1.0, number=1, home="", urgent=False, lifetime=None,
             strategy="DEFAULT", locality=None, **resources):  # fmt: skip
        spec = SchedulingClass(units(resources or {"CPU": 1}), strategy, name=owner)
        return self.short(self.demand(
            owner, number, wanted, now, spec=spec, home=home, urgent=urgent, locality=locality,
            lifetime=None if lifetime is None else units(lifetime),
        ))  # fmt: skip

    def short(self, decisions):
        """("x", "n"): x is granted a lease on n; ("-", id): called back; ("!", text): hopeless."""
        self.validate()
        found = []
        for what in decisions:
            if type(what) is Grant:
                found.append((what.lease.demand.owner, what.lease.node.name))
            elif type(what) is CallBack:
                found.append(("-", what.lease.id))
            elif type(what) is Unplaceable:
                found.append(("!", what.text))
        return found

    def end(self, id, now=1.0):
        return self.short(self.ended(id, now))

    def at(self, now):
        """A tick, and the leases that it calls back end at once."""
        decisions = self.short(self.tick(now))
        ended = [self.end(id, now) for sign, id in decisions if sign == "-"]
        return [x for x in decisions if x[0] != "-"] + [x for out in ended for x in out]

    def held(self, owner, number=1):
        demand = self.demands.get((owner, number))
        return list(demand.leases) if demand is not None else []

    def free(self, name="n", resource="CPU"):
        return self.nodes[name].ledger.free.get(resource, 0) / UNITS


def units(quantities):
    return {name: round(quantity * UNITS) for name, quantity in quantities.items()}


@pytest.fixture
def leases():
    leases = Cluster()
    yield leases
    leases.validate()


# -- granting ------------------------------------------------------------------------


def test_what_fits_is_granted_and_what_does_not_waits_until_a_lease_ends(leases):
    leases.node("n", CPU=2)
    assert leases.want("x", 3) == [("x", "n")] * 2
    assert leases.end(1) == [("x", "n")]
    assert leases.held("x") == [2, 3]


def test_wanted_is_how_many_in_all_so_saying_it_twice_grants_nothing_twice(leases):
    """Demands and grants cross on the wire."""
    leases.node("n", CPU=8)
    assert len(leases.want("x", 2)) == 2
    assert leases.want("x", 2) == []
    assert len(leases.want("x", 3)) == 1
    assert leases.want("x", 1) == []
    leases.end(1), leases.end(2)
    assert leases.held("x") == [3]


def test_a_class_is_known_for_as_long_as_its_owner_lives(leases):
    """The spec comes with the first demand only, and all leases may be returned before the next."""
    leases.node("n", CPU=1)
    leases.want("x", 1)
    leases.demand("x", 1, 0, 2.0)
    leases.end(1, 2.0)
    assert leases.short(leases.demand("x", 1, 1, 3.0)) == [("x", "n")]


def test_a_class_that_was_never_told_is_ignored(leases):
    leases.node("n", CPU=1)
    assert leases.demand("x", 1, 1, 1.0) == []


def test_a_node_that_joins_serves_those_who_wait(leases):
    leases.want("x", 2)
    assert leases.node("n", now=2.0, CPU=4) == [("x", "n")] * 2


def test_what_comes_free_goes_to_those_who_have_least(leases):
    leases.node("n", CPU=4)
    leases.want("x", 9)
    leases.want("y", 9)
    assert [leases.end(id) for id in (1, 2)] == [[("y", "n")]] * 2
    assert {owner: len(leases.held(owner)) for owner in "xy"} == {"x": 2, "y": 2}


def test_a_new_node_is_shared_evenly(leases):
    leases.want("x", 100)
    leases.want("y", 100, now=1.5)
    leases.want("z", 2, now=1.7)
    leases.node("n", now=2.0, CPU=10)
    assert [len(leases.held(owner)) for owner in "xyz"] == [4, 4, 2]


def test_among_equals_the_oldest_is_first(leases):
    leases.node("n", CPU=1)
    leases.want("x", 1)
    leases.want("y", 1, now=3.0), leases.want("z", 1, now=2.0)
    assert leases.end(1, 4.0) == [("z", "n")]


def test_urgent_ones_are_first_of_all(leases):
    """Somebody who holds a CPU is blocked on these tasks."""
    leases.node("n", CPU=2)
    leases.want("x", 2)
    leases.want("y", 1, now=2.0)
    leases.want("x", 3, now=3.0, urgent=True)
    assert leases.end(1, 4.0) == [("x", "n")]


def test_a_demand_that_turns_urgent_may_use_what_is_kept_for_another(leases):
    leases.node("n", CPU=4)
    leases.want("x", 4)
    leases.want("big", 1, now=1.0, CPU=4)
    leases.tick(2.0)
    leases.want("y", 1, now=2.0)
    assert leases.end(1, 2.0) == []
    assert leases.want("y", 1, now=2.1, urgent=True) == [("y", "n")]


def test_a_lease_that_ends_elsewhere_lets_its_owner_be_served_anywhere(leases):
    """A demand that had all it wanted was not tried on the nodes that came since."""
    leases.node("a", CPU=1)
    leases.want("x", 1)
    leases.node("b", CPU=1)
    leases.drain_node("a")
    assert leases.end(1, 2.0) == [("x", "b")]


# -- fairness ------------------------------------------------------------------------


def test_a_lease_is_called_back_for_others_after_half_a_second(leases):
    leases.node("n", CPU=1)
    leases.want("x", 9)
    leases.want("y", 1, now=1.1)
    assert leases.short(leases.tick(1.5)) == []
    assert leases.short(leases.tick(1.65)) == [("-", 1)]
    assert leases.short(leases.tick(1.75)) == [], "once is enough"
    assert leases.end(1, 1.8) == [("y", "n")]


def test_who_was_called_back_waits_half_a_second_in_his_turn(leases):
    leases.node("n", CPU=1)
    leases.want("x", 9), leases.want("y", 9)
    assert leases.at(1.6) == [("y", "n")]
    assert leases.at(1.7) == []
    assert leases.at(2.05) == []
    assert leases.at(2.15) == [("x", "n")]


def test_an_urgent_stream_without_end_keeps_nobody_out(leases):
    leases.node("n", CPU=1)
    leases.want("x", 9, urgent=True)
    leases.want("y", 1)
    assert leases.at(1.6) == [("y", "n")]


def test_a_new_lease_is_safe_for_half_a_second(leases):
    leases.node("n", CPU=1)
    leases.want("y", 1)
    leases.want("x", 1)
    leases.end(1, 1.3)
    leases.want("y", 1, now=1.3)
    assert leases.at(1.75) == []
    assert leases.at(1.85) == [("y", "n")]


def test_no_more_are_called_back_than_are_lacking(leases):
    leases.node("n", CPU=8)
    leases.want("x", 9)
    leases.want("y", 2)
    assert len(leases.short(leases.tick(1.6))) == 2
    assert leases.short(leases.tick(1.7)) == []


def test_no_more_are_called_back_than_makes_even(leases):
    leases.node("n", CPU=8)
    leases.want("x", 99)
    leases.want("y", 99)
    assert len(leases.short(leases.tick(1.6))) == 4


def test_the_richest_give_first(leases):
    leases.node("n", CPU=6)
    leases.want("poor", 2), leases.want("rich", 4)
    leases.want("y", 2)
    assert leases.at(1.6) == [("y", "n")] * 2
    assert [len(leases.held(x)) for x in ("poor", "rich", "y")] == [2, 2, 2]


def test_leases_are_called_back_where_who_waits_can_go(leases):
    """The richest holds what is on another node, which would help nobody."""
    leases.node("n", CPU=1), leases.node("other", CPU=4)
    here = json.dumps({"node_id": "n", "soft": False})
    assert leases.want("few", 1, strategy=here) == [("few", "n")]
    assert leases.want("many", 4) == [("many", "other")] * 4
    assert leases.want("late", 1, now=1.1, strategy=here) == []
    assert leases.short(leases.tick(2.0)) == [("-", id) for id in leases.held("few")]


def test_a_long_task_that_was_called_back_does_not_stop_the_calling_back_of_others(leases):
    """`long` does not end its lease for an hour; the stream of short tasks beside it must give."""
    leases.node("n", CPU=2)
    leases.want("long", 1), leases.want("stream", 9)
    leases.want("y", 1)
    (first,) = leases.short(leases.tick(1.6))
    (second,) = leases.short(leases.tick(2.2))
    assert {first, second} == {("-", 1), ("-", 2)}
    assert leases.end(2, 2.3) == [("y", "n")]


def test_leases_of_no_use_to_the_waiting_one_are_left_alone(leases):
    leases.node("n", CPU=1, GPU=1)
    leases.want("x", 9, GPU=1)
    leases.want("y", 1), leases.want("z", 1)
    assert leases.short(leases.tick(1.6)) == [("-", 2)]


def test_leases_on_nodes_too_small_for_the_waiting_one_are_left_alone(leases):
    leases.node("small", CPU=1), leases.node("large", CPU=2)
    leases.want("x", 9)
    leases.want("y", 1, CPU=2)
    called = {id for _, id in leases.short(leases.tick(1.6))}
    assert called and all(leases.leases[id].node.name == "large" for id in called)


def test_actors_are_never_called_back(leases):
    leases.node("n", CPU=1)
    leases.want("actor", 1, lifetime={"CPU": 1})
    leases.want("y", 1)
    assert leases.short(leases.tick(60.0)) == []


def test_an_actor_that_waits_is_served_like_a_task(leases):
    leases.node("n", CPU=1)
    leases.want("x", 9)
    leases.want("actor", 1, lifetime={"CPU": 1})
    assert leases.at(1.6) == [("actor", "n")]


def test_waiting_counts_from_when_the_lack_began(leases):
    """Both have had what they wanted for an hour; then the node of one dies."""
    leases.node("a", CPU=1), leases.node("b", CPU=1)
    leases.want("x", 1, home="a"), leases.want("y", 1, home="b")
    leases.remove_node("a", 3600.0)
    assert leases.short(leases.tick(3600.1)) == []
    assert leases.short(leases.tick(3600.6)) == [("-", 2)]


# -- reservation -----------------------------------------------------------------------


def test_after_a_second_what_comes_free_is_kept_for_a_large_demand(leases):
    """Small ones would else take each CPU as it comes free, for ever."""
    leases.node("n", CPU=4)
    leases.want("x", 99)
    leases.want("big", 1, CPU=4)
    now, served = 1.0, []
    while ("big", "n") not in served:
        now += 0.1
        served += leases.at(now)
        assert now < 3.0, "it starves"


def test_what_the_large_demand_does_not_need_is_not_kept(leases):
    leases.node("n", CPU=2, GPU=1)
    leases.want("x", 1, GPU=1), leases.want("y", 1, CPU=2)
    leases.want("waits", 1, GPU=1)
    leases.tick(2.1)
    assert leases.demands["waits", 1].reserves is not None
    leases.demand("y", 1, 0, 2.2)
    leases.ended(2, 2.2)
    assert leases.want("z", 1, now=2.3) == [("z", "n")]


def test_nothing_is_kept_for_who_has_a_lease_and_so_makes_progress(leases):
    """Its long task holds the only GPU: the CPUs beside it must not lie idle meanwhile."""
    leases.node("n", CPU=2, GPU=1)
    leases.want("x", 9, CPU=1, GPU=1)
    leases.tick(2.1)
    assert leases.want("y", 1, now=2.3) == [("y", "n")]


def test_small_ones_are_served_on_other_nodes_meanwhile(leases):
    leases.node("a", CPU=4), leases.node("b", CPU=4)
    leases.want("x", 8)
    leases.want("big", 1, CPU=4)
    leases.tick(2.1)
    reserved = leases.demands["big", 1].reserves.name
    ids = {lease.node.name: lease.id for lease in leases.leases.values()}
    other = "b" if reserved == "a" else "a"
    leases.want("y", 9, now=2.1)
    assert leases.end(ids[reserved], 2.2) == []
    assert leases.end(ids[other], 2.2) == [("y", other)]


def test_when_the_large_demand_is_withdrawn_what_was_kept_is_given_out(leases):
    leases.node("n", CPU=2)
    leases.want("x", 2)
    leases.want("big", 1, CPU=2), leases.want("y", 1)
    leases.tick(2.1)
    leases.demand("x", 1, 0, 2.1)
    assert leases.end(1, 2.2) == []
    assert leases.short(leases.demand("big", 1, 0, 2.3)) == [("y", "n")]


def test_a_reservation_goes_with_its_node(leases):
    leases.node("n", CPU=2)
    leases.want("x", 2)
    leases.want("big", 1, CPU=2)
    leases.tick(2.1)
    leases.remove_node("n", 2.2)
    assert leases.demands["big", 1].reserves is None
    assert ("big", "m") in leases.node("m", now=2.3, CPU=4)


def test_nothing_is_kept_on_a_node_where_the_demand_may_not_go(leases):
    leases.node("a", CPU=2), leases.node("b", CPU=3)
    leases.want("x", 5)
    leases.want("big", 1, CPU=2, strategy=json.dumps({"node_id": "a", "soft": False}))
    leases.tick(2.1)
    assert leases.demands["big", 1].reserves.name == "a"


# -- lending ---------------------------------------------------------------------------


def test_a_blocked_task_lends_its_cpu(leases):
    leases.node("n", CPU=1)
    leases.want("parent", 1)
    leases.want("child", 1)
    assert leases.short(leases.blocked(1, 2.0)) == [("child", "n")]


def test_it_goes_on_at_once_and_the_debt_is_repaid_before_anything_is_granted(leases):
    leases.node("n", CPU=1)
    leases.want("parent", 1)
    leases.want("child", 9)
    leases.blocked(1, 2.0)
    leases.unblocked(1)
    assert leases.free() == -1
    assert leases.end(2, 3.0) == []
    assert leases.end(1, 3.0) == [("child", "n")]


def test_gpus_are_not_lent(leases):
    leases.node("n", CPU=1, GPU=1)
    leases.want("parent", 1, CPU=1, GPU=1)
    leases.want("child", 1, CPU=1, GPU=1)
    assert leases.blocked(1, 2.0) == []
    assert (leases.free(), leases.free(resource="GPU")) == (1, 0)


def test_actors_lend_nothing(leases):
    leases.node("n", CPU=1)
    leases.want("actor", 1, lifetime={"CPU": 1})
    assert leases.blocked(1, 2.0) == [] and leases.free() == 0


def test_a_lease_that_ends_while_its_cpu_is_lent_gives_it_back_once(leases):
    leases.node("n", CPU=1)
    leases.want("parent", 1)
    leases.blocked(1, 2.0), leases.blocked(1, 2.0)
    leases.demand("parent", 1, 0, 2.0)
    leases.ended(1, 3.0), leases.ended(1, 3.0)
    leases.unblocked(1)
    assert leases.free() == 1


# -- owners, nodes, Dask's own tasks ---------------------------------------------------------


def test_a_dead_owner_wants_nothing_and_its_leases_count_until_they_are_over(leases):
    leases.node("n", CPU=2)
    leases.want("x", 9), leases.want("y", 1)
    assert [lease.id for lease in leases.forget_owner("x")] == [1, 2]
    assert leases.end(1, 2.0) == [("y", "n")]
    assert leases.end(2, 2.0) == []
    assert leases.free() == 1 and set(leases.demands) == {("y", 1)}


def test_nothing_is_remembered_of_dead_owners(leases):
    leases.node("n", CPU=2)
    leases.want("x", 1)
    leases.forget_owner("x"), leases.forget_owner("nobody")
    leases.ended(1, 2.0)
    assert not (leases._gone or leases.demands or len(leases.lacking))


def test_a_draining_node_is_given_nothing_new(leases):
    leases.node("n", CPU=2)
    leases.want("x", 1)
    leases.drain_node("n")
    assert leases.want("y", 1) == [] and leases.held("x") == [1]
    leases.drain_node("n", False)
    assert leases.short(leases.tick(1.1)) == [("y", "n")]


def test_leases_of_a_dead_node_are_over_and_wanted_again(leases):
    leases.node("a", CPU=2)
    leases.want("x", 2)
    assert [lease.id for lease in leases.remove_node("a", 2.0)] == [1, 2]
    assert leases.end(1, 2.0) == []
    assert leases.node("b", now=3.0, CPU=1) == [("x", "b")]


def test_tasks_of_dask_use_cpus_of_their_node(leases):
    leases.node("n", CPU=2)
    leases.set_external("n", 2 * UNITS, 1.0)
    assert leases.want("x", 2) == []
    assert leases.short(leases.set_external("n", UNITS, 2.0)) == [("x", "n")]


def test_resources_of_placement_groups_come_and_go(leases):
    leases.node("n", CPU=1)
    assert leases.want("x", 1, bundle=1) == []
    assert leases.short(leases.change_total("n", {"bundle": UNITS}, 2.0)) == [("x", "n")]
    leases.demand("x", 1, 0, 3.0)
    leases.ended(1, 3.0)
    leases.change_total("n", {"bundle": -UNITS}, 3.0)
    assert "bundle" not in leases.nodes["n"].ledger.total


def test_fractions_are_exact(leases):
    leases.node("n", GPU=1)
    assert len(leases.want("x", 99, GPU=0.1)) == 10
    for id in leases.held("x"):
        leases.ended(id, 1.0)
    assert len(leases.held("x")) == 10 and leases.free(resource="GPU") == 0


# -- warnings ----------------------------------------------------------------------------------


def test_people_are_told_once_what_a_demand_lacks_for_good(leases):
    leases.node("n", CPU=2)
    leases.want("x", 1, GPU=1, CPU=1)
    assert leases.short(leases.tick(1.5)) == []
    assert leases.short(leases.tick(2.1)) == [("!", "GPU: 1 wanted, 0 on one node")]
    assert leases.short(leases.tick(9.0)) == []
    assert leases.node("m", now=10.0, GPU=1, CPU=1) == [("x", "m")]


def test_nobody_is_warned_of_what_only_takes_its_time(leases):
    leases.node("n", CPU=2)
    leases.want("x", 1, lifetime={"CPU": 2}, CPU=2)
    leases.want("y", 1)
    assert leases.short(leases.tick(9.0)) == []


def test_a_demand_that_becomes_impossible_is_told_of(leases):
    leases.node("n", GPU=1), leases.node("m", CPU=1)
    leases.want("x", 2, GPU=1)
    leases.tick(2.1)
    leases.remove_node("n", 3.0)
    assert [sign for sign, _ in leases.short(leases.tick(4.1))] == ["!"]


# -- where -----------------------------------------------------------------------------------------


def test_the_owners_own_node_is_filled_halfway_then_one_after_another_then_evenly(leases):
    for name in "abc":
        leases.node(name, CPU=4)
    granted = [node for _, node in leases.want("x", 12, home="b")]
    assert granted[:6] == ["b", "b", "a", "a", "c", "c"]
    assert {*granted[6:9]} == {*granted[9:]} == {"a", "b", "c"}


def test_what_takes_nothing_goes_to_each_node_in_turn(leases):
    for name in "abc":
        leases.node(name, CPU=1)
    nodes = [leases.want(f"a{i}", 1, home="a", CPU=1, lifetime={})[0][1] for i in range(6)]
    assert {*nodes[:3]} == {*nodes[3:]} == {"a", "b", "c"}


@pytest.mark.parametrize(("threshold", "first"), [(0.0, 1), (0.25, 1), (1.0, 4)])
def test_how_far_a_node_is_filled_before_the_next_can_be_set(threshold, first):
    leases = Cluster(Policy(threshold))
    for name in "ab":
        leases.node(name, CPU=4)
    granted = [node for _, node in leases.want("x", 8, home="a")]
    assert granted[: first + 1] == ["a"] * first + ["b"]
    assert granted.count("a") == granted.count("b") == 4


def test_a_node_that_gets_free_again_is_found(leases):
    """Those that are used more are not taken because the level was higher once."""
    for name in "abcd":
        leases.node(name, CPU=8)
    leases.want("x", 30, home="a")
    leases.want("x", 0)  # it keeps what it has
    for lease in [x.id for x in leases.nodes["c"].leases.values()]:
        leases.end(lease)
    assert {node for _, node in leases.want("y", 4)} == {"c"}


def test_where_most_bytes_lie_is_better_than_home(leases):
    for name in "abc":
        leases.node(name, CPU=1)
    granted = leases.want("x", 3, home="a", locality={"b": 10, "c": 20, "gone": 99})
    assert [node for _, node in granted] == ["c", "b", "a"]


def affinity(node, **flags):
    return json.dumps({"node_id": node, **flags})


def test_a_soft_affinity_waits_for_its_node_while_that_could_have_it(leases):
    leases.node("a", CPU=1), leases.node("b", CPU=1)
    soft = affinity("a", soft=True)
    assert leases.want("x", 2, strategy=soft) == [("x", "a")]
    assert leases.end(leases.held("x")[0]) == [("x", "a")]
    assert leases.want("y", 1, strategy=soft, CPU=2) == []
    assert leases.node("big", CPU=2) == [("y", "big")], "its own node could never have it"


def test_a_soft_affinity_moves_on_when_its_node_is_gone_or_leaves(leases):
    leases.node("a", CPU=1), leases.node("b", CPU=1)
    leases.drain_node("a")
    assert leases.want("x", 1, strategy=affinity("a", soft=True)) == [("x", "b")]
    assert leases.want("y", 1, strategy=affinity("gone", soft=True)) == []
    assert leases.end(leases.held("x")[0]) == [("y", "b")]


@pytest.mark.parametrize("goes", ["drains", "dies"])
def test_who_waits_for_a_node_that_goes_is_tried_elsewhere(leases, goes):
    leases.node("a", CPU=1), leases.node("b", CPU=1)
    assert leases.want("x", 2, strategy=affinity("a", soft=True)) == [("x", "a")]
    if goes == "drains":
        leases.drain_node("a")
    else:
        leases.remove_node("a", 1.0)
    assert ("x", "b") in leases.at(1.1)


def test_one_that_may_spill_does_not_wait(leases):
    leases.node("a", CPU=1), leases.node("b", CPU=1)
    spill = affinity("a", soft=True, spill=True)
    assert leases.want("x", 2, strategy=spill) == [("x", "a"), ("x", "b")]


def test_one_that_fails_rather_than_waits_is_told_so_at_once(leases):
    leases.node("a", CPU=1)
    granted = leases.want("x", 2, strategy=affinity("a", soft=False, fail=True))
    assert granted == [("x", "a"), ("!", "its node has no room for it now")]


def test_labels_are_tried_in_turn(leases):
    """The fallback is for when there is no room on better nodes, or there are none."""
    leases.node("a", CPU=1, labels={"zone": "1"}), leases.node("b", CPU=1, labels={"zone": "2"})
    leases.node("c", CPU=1)
    one = {"zone": ["in", ["1"]]}
    strategy = json.dumps({"hard": one, "fallback": [{"zone": ["exists", []]}]})
    assert leases.want("x", 3, strategy=strategy) == [("x", "a"), ("x", "b")]
    nowhere = json.dumps({"hard": {"zone": ["in", ["9"]]}, "fallback": [{}]})
    assert leases.want("y", 1, strategy=nowhere) == [("y", "c")]


def test_labels_and_spread_go_together(leases):
    for name in "abc":
        leases.node(name, CPU=4, labels={"zone": "1" if name != "c" else "2"})
    strategy = json.dumps({"hard": {"zone": ["in", ["1"]]}, "spread": True})
    nodes = [node for _, node in leases.want("x", 4, strategy=strategy)]
    assert {*nodes[:2]} == {*nodes[2:]} == {"a", "b"}


@pytest.mark.parametrize(("strategy", "resources", "text"), [
    ("DEFAULT", {"CPU": 2, "GPU": 1}, "no one node has all of it: CPU: 2, GPU: 1"),
    ("DEFAULT", {"CPU": 3}, "CPU: 3 wanted, 2 on one node"),
    (json.dumps({"hard": {"zone": ["in", ["1"]], "spot": ["absent", []]}}), {"CPU": 1},
     "no node has the labels that it asks for (zone = '1', no spot)"),
    (affinity("gone", soft=False), {"CPU": 1}, "its node gone is gone"),
    (affinity("gpu", soft=False), {"CPU": 2}, "CPU: 2 wanted, 1 on one node"),
])  # fmt: skip
def test_what_is_missing_is_told(leases, strategy, resources, text):
    leases.node("cpu", CPU=2), leases.node("gpu", CPU=1, GPU=1)
    leases.want("x", 1, strategy=strategy, **resources)
    assert ("!", text) in leases.at(2.1)


def test_spread_takes_the_next_node_each_time(leases):
    for name in "abc":
        leases.node(name, CPU=2)
    granted = [node for _, node in leases.want("x", 6, home="a", strategy="SPREAD")]
    assert {*granted[:3]} == {*granted[3:]} == {"a", "b", "c"}


def test_affinity_to_a_node_waits_for_it_if_it_is_hard_and_not_if_it_may_spill(leases):
    leases.node("a", CPU=1), leases.node("b", CPU=2)
    hard = json.dumps({"node_id": "a", "soft": False})
    soft = json.dumps({"node_id": "a", "soft": True, "spill": True})
    assert leases.want("x", 2, strategy=hard) == [("x", "a")]
    assert leases.want("y", 1, strategy=soft) == [("y", "b")]
    assert leases.end(1, 2.0) == [("x", "a")]


def test_labels_choose_nodes(leases):
    leases.node("a", CPU=1, labels={"zone": "1"}), leases.node("b", CPU=1, labels={"zone": "2"})
    strategy = json.dumps({"hard": {"zone": ["in", ["2"]]}})
    assert leases.want("x", 2, strategy=strategy) == [("x", "b")]
    assert leases.end(1, 2.0) == [("x", "b")]


def test_an_affinity_that_no_node_meets_is_told(leases):
    leases.node("a", CPU=1)
    leases.want("x", 1, strategy=json.dumps({"node_id": "gone", "soft": False}))
    assert leases.short(leases.tick(2.1)) == [("!", "its node gone is gone")]
