"""An owner's tasks: one story per rule. Times are seconds of a clock that the test turns."""

from __future__ import annotations

import pytest

from ray_on_dask.core import tasks as t
from ray_on_dask.wire.messages import INLINE, UNKNOWN, SchedulingClass, Task, Value

NOTHING = Value(INLINE)


class Owner(t.Tasks):
    """Tasks by short names; what is to be done comes back as tuples."""

    def __init__(self, slots=16):
        super().__init__()
        self.made = {}
        for key in (1, 2):
            self.add_class(key, SchedulingClass({"CPU": 10_000 * key}), slots)

    def call(self, *names, now=1.0, key=1, retries=0, missing=0):
        """Submit tasks; what that leads to, as by a `flush` at their end."""
        out = []
        for name in names:
            task = t.OwnedTask(Task(name.encode(), b"f", NOTHING), key, retries)
            task.missing = missing
            self.made[name] = task
            out += self.submit(task, now)
        return self.short(out + self.flush(now))

    def short(self, instructions):
        self.validate()
        found = []
        for what in instructions:
            if isinstance(what, t.PushTasks):
                names = " ".join(task.task.id.decode() for task in what.tasks)
                found.append(("push", what.lease.id, names))
            elif isinstance(what, t.SendDemand):
                found.append(("demand", what.key, what.wanted))
            elif isinstance(what, t.RecallTasks):
                found.append(("recall", what.lease, what.count))
            elif isinstance(what, t.GiveBackLease):
                found.append(("return", what.lease))
            else:
                found.append(("fail", what.task.task.id.decode()))
        return found

    def grant(self, lease, now=1.0, key=1):
        return self.short(self.granted(lease, key, f"x{lease}", now))

    def done(self, lease, *names, seconds=0.001, now=1.0):
        """Results of one message."""
        for name in names:
            assert self.finished(lease, name.encode(), seconds, now) is self.made[name]
        return self.short(self.refill(lease, now))

    def aboard(self, lease):
        return [id.decode() for id in self.leases[lease].aboard]

    def learn(self, seconds, now=1.0):
        """Have a first task of class 1 taught how long they take, on lease 1."""
        self.call("learn", now=now)
        self.grant(1, now)
        self.done(1, "learn", seconds=seconds, now=now)


@pytest.fixture
def owner():
    owner = Owner()
    yield owner
    owner.validate()


# -- demand and grants -----------------------------------------------------------------


def test_a_task_asks_for_a_lease_and_goes_to_it(owner):
    assert owner.call("a") == [("demand", 1, 1)]
    assert owner.grant(1) == [("push", 1, "a")]
    assert owner.done(1, "a") == []
    assert not owner.tasks and owner.made["a"].state == t.ENDED


def test_demand_is_told_when_it_has_doubled_not_with_each_task(owner):
    told = []
    for number in range(100):
        task = t.OwnedTask(Task(b"%d" % number, b"f", NOTHING), 1, 0)
        told += owner.short(owner.submit(task, 1.0))
    assert 0 < len(told) <= 10
    assert told[-1][2] >= 50
    assert owner.short(owner.tick(1.01)) == [("demand", 1, 100)]


def test_the_same_demand_is_not_told_twice(owner):
    owner.call("a", "b")
    owner.grant(1), owner.grant(2)
    owner.done(1, "a"), owner.done(2, "b")
    told = [x for step in range(4) for x in owner.short(owner.tick(1.001 + step / 1000))]
    assert [x for x in told if x[0] == "demand"] == []


def test_a_task_waits_for_what_it_depends_on(owner):
    assert owner.call("a", missing=2) == []
    task = owner.made["a"]
    assert owner.dependency_ready(task, 1.0) == [] and task.state == t.WAITING
    assert owner.short(owner.dependency_ready(task, 1.0)) == [("demand", 1, 1)]


def test_classes_do_not_share_leases(owner):
    owner.call("a", "b")
    owner.call("c", key=2)
    assert owner.grant(1, key=2) == [("push", 1, "c")]
    assert owner.grant(2) == [("push", 2, "a")]


def test_a_result_of_a_lease_that_is_over_is_stale(owner):
    owner.call("a")
    owner.grant(1)
    owner.ended(1, 1.0)
    assert owner.finished(1, b"a", 0.1, 1.0) is None
    assert owner.made["a"].state == t.QUEUED
    assert owner.ended(1, 1.0) == owner.lost(1, b"a", "", 1.0) == owner.refill(1, 1.0) == []


# -- pipelining --------------------------------------------------------------------------


def test_while_durations_are_unknown_one_task_goes_at_a_time(owner):
    owner.call("a", "b", "c")
    assert owner.grant(1) == [("push", 1, "a")]
    assert owner.done(1, "a", seconds=1.0, now=2.0) == [("push", 1, "b")]


@pytest.mark.parametrize(
    ("seconds", "depth"), [(1e-7, t.DEPTH_MAX), (0.001, 49), (0.01, 4), (0.03, 1), (10.0, 1)]
)
def test_as_many_are_sent_ahead_as_fill_fifty_milliseconds(seconds, depth):
    owner = Owner(slots=1)
    owner.learn(seconds)
    owner.call(*map(str, range(3000)))
    assert len(owner.aboard(1)) == depth


def test_the_depth_follows_the_durations(owner):
    owner.learn(0.001)
    group = owner.classes[1]
    deep = owner._depth(group)
    for number in range(20):
        owner.call(f"a{number}")
        owner.done(1, f"a{number}", seconds=1.0)
    assert deep > 10 and owner._depth(group) == 1


def test_what_a_cluster_can_share_is_not_all_sent_to_the_first_lease():
    """More leases are on their way: one executor must not be given everything."""
    owner = Owner(slots=4)
    owner.learn(0.0001)
    owner.call(*map(str, range(100)))
    assert len(owner.aboard(1)) <= 50


def test_an_executor_that_is_half_empty_is_refilled_not_at_each_result():
    owner = Owner(slots=1)
    owner.learn(0.001)
    owner.call(*map(str, range(200)))
    depth = len(owner.aboard(1))
    assert owner.done(1, "0") == []
    names = [str(number) for number in range(1, depth // 2 + 1)]
    (push,) = owner.done(1, *names)
    assert push[0] == "push" and len(owner.aboard(1)) == depth


# -- recall -----------------------------------------------------------------------------------


def stuck(owner):
    """Lease 1 has three tasks aboard, the first of which turns out to be long."""
    owner.learn(0.0001)
    owner.classes[1].slots = 1
    owner.call("a", "b", "c")
    assert owner.aboard(1) == ["a", "b", "c"]


def test_tasks_behind_a_long_one_count_as_demand(owner):
    stuck(owner)
    assert owner.classes[1].wanted == 3


def test_a_lease_with_nothing_to_do_gets_what_is_stuck_behind_a_long_task(owner):
    stuck(owner)
    owner.grant(2)
    assert owner.short(owner.tick(1.001)) == []
    assert owner.short(owner.tick(1.0 + t.STUCK + 0.001)) == [("recall", 1, 2)]
    assert owner.short(owner.given_back(1, [b"b", b"c"], 1.01)) == [("push", 2, "b c")]


def test_when_durations_are_unknown_it_gets_them_at_once(owner):
    owner.classes[1].seconds = 0.02
    owner.classes[1].slots = 1
    owner.call("a", "b")
    owner.grant(1)
    assert owner.aboard(1) == ["a", "b"]
    assert owner.grant(2) == [("recall", 1, 1)]


def test_a_recall_is_not_repeated_until_it_is_answered(owner):
    stuck(owner)
    owner.grant(2)
    owner.tick(1.01)
    assert owner.short(owner.tick(1.02)) == []
    owner.given_back(1, [], 1.02)
    assert owner.short(owner.tick(1.03)) == [("recall", 1, 2)]


def test_what_is_recalled_does_not_go_back_to_where_it_was_stuck(owner):
    stuck(owner)
    owner.grant(2)
    owner.tick(1.01)
    owner.ended(2, 1.01)
    assert owner.short(owner.given_back(1, [b"b", b"c"], 1.02)) == []
    assert owner.grant(3, 1.02) == [("push", 3, "b c")]


def test_an_idle_lease_that_is_returned_leaves_the_demand_of_the_stuck_tasks(owner):
    """Another class wants its CPU. The control store takes a return as one lease less wanted."""
    stuck(owner)
    owner.grant(2)
    assert ("return", 2) in owner.call("z", key=2)
    assert ("demand", 1, 3) in owner.short(owner.tick(1.01))


def test_given_back_tasks_keep_their_order(owner):
    owner.learn(0.0001)
    owner.classes[1].slots = 1
    owner.call("a", "b", "c", "d")
    owner.given_back(1, [b"b", b"c", b"d"], 1.0)
    assert [task.task.id for task in owner.classes[1].queue] == [b"b", b"c", b"d"]


def test_nothing_is_sent_to_an_executor_whose_task_is_blocked(owner):
    """Its CPU is lent; what waits behind it is back, and goes elsewhere."""
    stuck(owner)
    owner.executor_blocked(1)
    owner.given_back(1, [b"b", b"c"], 1.0)
    assert owner.short(owner.tick(1.1)) == []
    assert owner.grant(2) == [("push", 2, "b c")]
    owner.done(2, "b", "c")
    owner.call("d", now=1.1)
    assert owner.aboard(1) == ["a"]
    owner.done(1, "a", now=1.2)
    owner.call("e", now=1.2)
    assert not owner.leases[1].blocked


# -- crashes -------------------------------------------------------------------------------------


def test_a_crash_is_charged_to_the_task_that_ran_alone(owner):
    owner.learn(0.0001)
    owner.classes[1].slots = 1
    owner.call("a", "b", "c")
    assert ("fail", "b") in owner.short(owner.lost(1, b"b", "killed", 2.0))
    assert [task.task.id for task in owner.classes[1].queue] == [b"a", b"c"]
    assert all(owner.made[name].retries == 0 for name in "ac")


def test_retries_are_counted_and_then_it_fails(owner):
    owner.call("a", retries=2)
    for lease in (1, 2):
        owner.grant(lease)
        owner.lost(lease, b"a", "killed", 1.0)
        assert owner.made["a"].state == t.QUEUED and owner.made["a"].task.attempt == lease
    owner.grant(3)
    assert ("fail", "a") in owner.short(owner.lost(3, b"a", "killed", 1.0))
    assert not owner.tasks


def test_minus_one_is_tried_for_ever(owner):
    owner.call("a", retries=-1)
    for lease in range(1, 50):
        owner.grant(lease)
        assert ("fail", "a") not in owner.short(owner.lost(lease, b"a", "killed", 1.0))


def test_the_end_of_a_node_is_charged_to_the_task_that_was_first_there(owner):
    """Nobody can say any more which one was running."""
    owner.learn(0.0001)
    owner.classes[1].slots = 1
    owner.call("a", "b")
    assert ("fail", "a") in owner.short(owner.lost(1, UNKNOWN, "its node died", 2.0))
    assert [task.task.id for task in owner.classes[1].queue] == [b"b"]


def test_a_crash_between_two_tasks_is_charged_to_nobody(owner):
    owner.call("a")
    owner.grant(1)
    owner.lost(1, b"", "killed", 1.0)
    assert owner.made["a"].state == t.QUEUED


def test_an_exception_that_is_retried_runs_again(owner):
    owner.call("a", retries=1)
    owner.grant(1)
    task = owner.finished(1, b"a", 0.1, 1.0)
    assert owner.short(owner.again(task, 1.0)) == [("push", 1, "a")]
    assert (task.retries, task.task.attempt) == (0, 1)


# -- ends of leases --------------------------------------------------------------------------------


def test_a_lease_that_was_called_back_leaves_its_tasks_first_in_the_queue(owner):
    owner.learn(0.0001)
    owner.classes[1].slots = 1
    owner.call("a", "b")
    owner.classes[1].queue.clear()
    owner.ended(1, 1.0)
    assert [task.task.id for task in owner.classes[1].queue] == [b"a", b"b"]
    assert owner.grant(2)[0] == ("push", 2, "a b")


def test_idle_leases_are_kept_a_moment_and_then_returned(owner):
    owner.learn(0.001)
    assert ("return", 1) not in owner.short(owner.tick(1.0 + t.LINGER / 2))
    assert ("return", 1) in owner.short(owner.tick(1.0 + t.LINGER * 1.1))
    assert not owner.leases


def test_a_lease_in_use_is_not_returned(owner):
    owner.call("a")
    owner.grant(1)
    assert owner.short(owner.tick(100.0)) == []


def test_a_new_class_gets_the_cpus_of_idle_leases_at_once(owner):
    owner.learn(0.001)
    assert owner.call("z", key=2) == [("return", 1), ("demand", 2, 1)]


def test_when_all_is_done_the_demand_is_withdrawn(owner):
    owner.learn(0.001)
    now, told = 1.0, []
    while now < 1.2:
        now += 0.01
        told += owner.short(owner.tick(now))
    assert [x for x in told if x[0] == "demand"][-1:] in ([], [("demand", 1, 0)])
    assert owner.classes[1].wanted == 0 and not owner.busy


# -- hurry, cancel -------------------------------------------------------------------


def test_what_somebody_waits_for_goes_first_and_makes_the_demand_urgent(owner):
    owner.call("a", "b", "c")
    (demand,) = owner.hurry(owner.made["c"])
    assert demand.urgent and owner.grant(1) == [("push", 1, "c")]
    assert owner.hurry(owner.made["c"]) == []


def test_an_urgent_task_that_waits_is_first_when_its_turn_comes(owner):
    owner.call("a", "b")
    owner.call("c", missing=1)
    owner.hurry(owner.made["c"])
    owner.dependency_ready(owner.made["c"], 1.0)
    assert owner.grant(1) == [("push", 1, "c")]


def test_a_task_can_be_taken_out_wherever_it_is(owner):
    owner.call("a", "b")
    owner.call("c", missing=1)
    owner.grant(1)
    for name in "abc":
        owner.remove(owner.made[name])
        owner.validate()
        owner.remove(owner.made[name])
    assert not owner.tasks and owner.finished(1, b"a", 0.1, 1.0) is None
