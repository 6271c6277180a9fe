"""The control store as a whole: messages of simulated processes in, messages to them out."""

from __future__ import annotations

import pytest

from ray_on_dask.core.control import LAPSE, ControlStore, NodeFacts
from ray_on_dask.core.instructions import Send
from ray_on_dask.core.resources import UNITS
from ray_on_dask.wire import messages as m

CPU = m.SchedulingClass({"CPU": UNITS}, name="task")


class Cluster(ControlStore):
    """A control store with nodes that start what they are told to, at once or when asked."""

    def __init__(self):
        super().__init__(lambda kind, facts: kind.encode())
        self.now = 1.0
        self.starting = []
        self.quick = True

    def node(self, name="n", cpus=2):
        resources = {"CPU": cpus * UNITS}
        return self.deliver(self.node_up(
            NodeFacts(name, f"tcp://{name}", "ip", name, name, "", "", "", 1, resources), self.now
        ))  # fmt: skip

    def process(self, name, kind="driver", node="n"):
        out, member = self.joined(node, m.Hello(name, kind, 1), self.now)
        self.deliver(out)
        return member

    def say(self, sender, *messages):
        return [x for message in messages for x in
                self.deliver(self.handle(sender, message, self.now))]  # fmt: skip

    def lose(self, name, running=b""):
        return self.deliver(self.lost(m.Lost(name, "killed", running, -9), self.now))

    def at(self, now):
        self.now = now
        return self.deliver(self.tick(now))

    def deliver(self, out):
        """What goes to processes; nodes answer `StartLease` with an executor of that number."""
        self.validate()
        seen = []
        for what in out:
            if isinstance(what, Send) and type(what.message) is m.StartLease:
                if self.quick:
                    seen += self.started(what.to, what.message.lease)
                else:
                    self.starting.append((what.to, what.message.lease))
            elif isinstance(what, Send):
                seen.append((what.to, what.message))
        return seen

    def started(self, node, lease):
        executor = f"x{lease}"
        if executor not in self.members:
            self.process(executor, "executor", node)
        return self.say(node, m.LeaseStarted(lease, executor, "address", 1))


@pytest.fixture
def cluster():
    cluster = Cluster()
    cluster.node()
    cluster.process("d")
    yield cluster
    cluster.validate()


def granted(seen):
    return [(to, msg.executor) for to, msg in seen if type(msg) is m.Granted]


def test_a_demand_becomes_a_lease_and_the_owner_hears_of_its_executor(cluster):
    seen = cluster.say("d", m.Demand(1, 3, CPU))
    assert granted(seen) == [("d", "x1"), ("d", "x2")]
    seen = cluster.say("x1", m.LeaseEnded(1))
    assert granted(seen) == [("d", "x3")]


def test_the_spec_of_a_class_is_kept_when_all_leases_have_been_returned(cluster):
    """Owners tell it once. (Once it was forgotten with the last lease, and the owner hung.)"""
    cluster.say("d", m.Demand(1, 1, CPU))
    cluster.say("d", m.ReturnLease(1), m.Demand(1, 0))
    assert granted(cluster.say("d", m.Demand(1, 1))) == [("d", "x2")]


def test_a_returned_lease_is_not_granted_to_its_owner_anew(cluster):
    cluster.say("d", m.Demand(1, 2, CPU))
    seen = cluster.say("d", m.ReturnLease(1))
    assert seen == [("n", m.EndLease(1))]
    assert cluster.leases.demands["d", 1].wanted == 1


def test_only_the_owner_may_return_a_lease(cluster):
    cluster.process("stranger")
    cluster.say("d", m.Demand(1, 1, CPU))
    assert cluster.say("stranger", m.ReturnLease(1), m.ReturnLease(99)) == []
    assert 1 in cluster.leases.leases


def test_a_lease_that_starts_when_its_owner_is_dead_is_ended(cluster):
    cluster.quick = False
    cluster.say("d", m.Demand(1, 1, CPU))
    cluster.lose("d")
    assert ("x1", m.EndLease(1)) in cluster.started("n", 1)
    cluster.say("x1", m.LeaseEnded(1))
    assert not cluster.leases.leases and not cluster.leases.demands


def test_a_lease_that_starts_when_it_is_over_is_ended(cluster):
    cluster.quick = False
    cluster.say("d", m.Demand(1, 1, CPU))
    cluster.say("n", m.LeaseEnded(1))
    assert cluster.started("n", 1)[:1] == [("x1", m.EndLease(1))]


def test_last_words_of_a_dead_owner_take_no_resources(cluster):
    """An executor is killed just after it has asked: the news of its death comes first."""
    cluster.process("x", "executor")
    cluster.lose("x")
    assert cluster.say("x", m.Demand(1, 2, CPU)) == []
    assert granted(cluster.say("d", m.Demand(1, 2, CPU))) == [("d", "x1"), ("d", "x2")]


def test_a_dead_executor_is_told_of_and_its_resources_are_granted_anew(cluster):
    cluster.say("d", m.Demand(1, 3, CPU))
    seen = cluster.lose("x1", b"task")
    assert ("d", m.LeaseLost(1, "killed", b"task", -9)) in seen
    assert granted(seen) == [("d", "x3")]


def test_the_leases_of_a_dead_owner_are_ended_where_they_are(cluster):
    cluster.process("e")
    cluster.say("d", m.Demand(1, 2, CPU))
    cluster.say("e", m.Demand(1, 1, CPU))
    seen = cluster.lose("d")
    assert ("x1", m.EndLease(1)) in seen and ("x2", m.EndLease(2)) in seen
    assert granted(cluster.say("x1", m.LeaseEnded(1))) == [("e", "x3")]


def test_a_dead_node_takes_its_leases_and_processes_with_it(cluster):
    cluster.node("far")
    cluster.say("d", m.Demand(1, 4, CPU))
    there = {id for id, lease in cluster.leases.leases.items() if lease.node.name == "far"}
    assert len(there) == 2
    seen = cluster.deliver(cluster.node_down("far", "gone", cluster.now))
    assert {msg.lease for to, msg in seen if type(msg) is m.LeaseLost and to == "d"} == there
    assert not any(member.node == "far" for member in cluster.members.values())
    assert cluster.deliver(cluster.node_down("far", "gone", cluster.now)) == []


def test_an_executor_that_cannot_be_had_fails_its_class_and_frees_the_resources(cluster):
    cluster.quick = False
    cluster.say("d", m.Demand(1, 1, CPU))
    seen = cluster.say("n", m.LeaseStarted(1, "", "", 0, [], "no such environment"))
    assert ("d", m.LeaseFailed(1, b"RuntimeEnvSetupError")) in seen


def test_a_blocked_task_lends_its_cpu_to_its_children(cluster):
    cluster.node("m", 0)
    cluster.say("d", m.Demand(1, 9, CPU))
    assert cluster.say("x1", m.Demand(1, 1, CPU)) == []
    assert granted(cluster.say("x1", m.Blocked(1))) == [("x1", "x3")]
    assert cluster.say("x1", m.Unblocked(1)) == []


def test_another_driver_is_served_within_a_second(cluster):
    cluster.process("e")
    cluster.say("d", m.Demand(1, 99, CPU))
    assert cluster.say("e", m.Demand(1, 1, CPU)) == []
    seen, now = [], 1.0
    while not granted(seen):
        now += 0.1
        seen = cluster.at(now)
        for to, msg in list(seen):
            if type(msg) is m.EndLease:
                seen += cluster.say(to, m.LeaseEnded(msg.lease))
        assert now < 2.0
    assert granted(seen) == [("e", "x3")]


def test_a_lease_that_was_called_back_before_it_started_ends_when_it_does(cluster):
    """Its executor takes seconds to come up (a fresh interpreter); there is nobody to tell yet."""
    cluster.process("e")
    cluster.quick = False
    cluster.say("d", m.Demand(1, 99, CPU))
    cluster.say("e", m.Demand(1, 1, CPU))
    cluster.at(1.6)
    seen = [x for node, lease in cluster.starting for x in cluster.started(node, lease)]
    assert len(granted(seen)) == 1
    (ended,) = [msg.lease for _, msg in seen if type(msg) is m.EndLease]
    cluster.quick = True
    assert granted(cluster.say(f"x{ended}", m.LeaseEnded(ended))) == [("e", "x3")]


def test_people_are_told_of_what_cannot_run(cluster):
    cluster.say("d", m.Demand(1, 1, m.SchedulingClass({"GPU": UNITS}, name="train")))
    ((to, warning),) = cluster.at(2.5)
    assert to == "d" and warning.name == "train" and "GPU" in warning.text
    assert cluster.at(3.5) == []


def test_what_a_dead_process_held_lapses_after_a_second(cluster):
    """Its last messages may still come in on other lines."""
    id = bytes(8) + b"object".ljust(12)
    cluster.process("e")
    cluster.say("d", m.Promote(id, m.Value(m.INLINE, b"x")), m.Hold(id, "e"))
    cluster.say("d", m.Release([(id, 1)]))
    cluster.lose("e")
    cluster.at(cluster.now + LAPSE / 2)
    assert id in cluster.directory
    cluster.at(cluster.now + LAPSE)
    assert id not in cluster.directory


def test_the_end_of_a_driver_is_the_end_of_its_job(cluster):
    seen = cluster.lose("d")
    assert ("n", m.JobEnded(1)) in seen
    assert cluster.jobs[1].ended == cluster.now
    assert cluster.process("e").job == 2


def test_output_of_a_job_goes_to_its_driver_while_it_lives(cluster):
    lines = m.LogLines(1, "task", 7, "ip", ["hello"])
    assert cluster.say("n", lines) == [("d", lines)]
    cluster.lose("d")
    assert cluster.say("n", lines) == []


def test_a_message_that_is_not_for_the_control_store_is_ignored(cluster):
    assert cluster.say("d", m.Synced(1)) == []


def test_sync_is_answered_after_all_that_was_said_before(cluster):
    assert cluster.say("d", m.Sync(7)) == [("d", m.Synced(7))]


def test_a_class_whose_environment_cannot_be_had_is_not_tried_for_ever() -> None:
    """The node says no at once, in the same breath as the grant: a loop would never end."""
    store = ControlStore(lambda kind, facts: kind.encode())
    facts = NodeFacts("node", "tcp://a", "ip", "host", "h", "hub", "shm", "dir", 1, {"CPU": 10_000})
    store.node_up(facts, 0.0)
    store.joined("node", m.Hello("driver", "driver", 1, m.JobConfig()), 0.0)
    spec = m.SchedulingClass({"CPU": 10_000}, runtime_env='{"pip": ["x"]}')
    (start,) = store.handle("driver", m.Demand(1, 3, spec), 0.0)
    refused = m.LeaseStarted(start.message.lease, "", "", 0, [], "no pip here")
    (failed,) = store.handle("node", refused, 0.0)
    assert failed.to == "driver" and failed.message == m.LeaseFailed(1, b"RuntimeEnvSetupError")
    assert not store.leases.leases and not store.leases.lacking
    store.validate()


def test_people_are_told_once_of_an_actor_that_waits_for_what_others_hold(cluster):
    cluster.process("u")

    def actor(number):
        return m.ActorSpec(
            bytes(8) + bytes([number]) * 8, b"", b"", "Trainer", m.Value(m.INLINE), [],
            {"CPU": 2 * UNITS}, {"CPU": 2 * UNITS},
        )  # fmt: skip

    cluster.say("u", m.CreateActor(actor(1)))
    cluster.say("u", m.CreateActor(actor(2)))
    told = [
        text for second in range(30)
        for who, message in cluster.at(1.0 + second)
        if who == "u" and isinstance(message, m.Infeasible)
        for text in [message.text]
    ]  # fmt: skip
    assert len(told) == 1
    assert "Trainer has been waiting for 10 s" in told[0]
    assert "CPU: 2 wanted, at most 0 free" in told[0]
