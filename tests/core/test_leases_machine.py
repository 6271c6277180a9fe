"""Leases under events in any order: exact ledgers, what fits is granted, nobody starves."""

from __future__ import annotations

import json

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    precondition,
    rule,
)

from ray_on_dask.core.leases import CallBack, Grant, Leases
from ray_on_dask.core.resources import UNITS
from ray_on_dask.wire.messages import SchedulingClass

OWNERS = st.sampled_from("uvwxy")
NODES = st.sampled_from(["a", "b", "c"])
RESOURCES = st.sampled_from(
    [{"CPU": UNITS}, {"CPU": 2 * UNITS}, {"CPU": UNITS // 2, "GPU": UNITS // 4}, {}, {"GPU": UNITS}]
)
STRATEGIES = st.sampled_from(
    ["DEFAULT", "SPREAD", json.dumps({"node_id": "a", "soft": False}),
     json.dumps({"node_id": "b", "soft": True})]
)  # fmt: skip


class LeasesMachine(RuleBasedStateMachine):
    """Drives `Leases`; the model is the set of leases granted and not ended."""

    granted = Bundle("granted")

    def __init__(self):
        super().__init__()
        self.leases = Leases()
        self.now = 1.0
        self.living = {}
        self.actors = 0
        self.deaths = dict.fromkeys("uvwxy", 0)

    def name(self, owner):
        """An owner that lives: names of dead ones are not used again."""
        return f"{owner}{self.deaths[owner]}"

    def take(self, decisions):
        new = []
        for what in decisions:
            if type(what) is Grant:
                lease = what.lease
                assert lease.id not in self.living, "granted twice"
                self.living[lease.id] = lease
                new.append(lease.id)
            elif type(what) is CallBack:
                lease = what.lease
                assert self.living[lease.id] is lease and lease.demand.lifetime is None
                assert self.now - lease.granted_at >= 0.5
        return multiple(*new)

    @rule(seconds=st.sampled_from([0.01, 0.1, 0.3, 0.6]))
    def time_passes(self, seconds):
        self.now += seconds

    @rule(target=granted)
    def tick(self):
        return self.take(self.leases.tick(self.now))

    @rule(target=granted, name=NODES, cpus=st.integers(0, 4), gpus=st.integers(0, 2))
    def node_joins(self, name, cpus, gpus):
        if name in self.leases.nodes:
            return multiple()
        total = {"CPU": cpus * UNITS, "GPU": gpus * UNITS}
        return self.take(self.leases.add_node(name, total, self.now))

    @rule(name=NODES)
    def node_dies(self, name):
        node = self.leases.nodes.get(name)
        on_it = set(node.leases) if node is not None else set()
        gone = {lease.id for lease in self.leases.remove_node(name, self.now)}
        assert gone == on_it
        for id in gone:
            del self.living[id]

    @rule(name=NODES, draining=st.booleans())
    def node_drains(self, name, draining):
        self.leases.drain_node(name, draining)

    @rule(target=granted, name=NODES, cpus=st.integers(0, 3))
    def dask_works(self, name, cpus):
        return self.take(self.leases.set_external(name, cpus * UNITS, self.now))

    @rule(target=granted, owner=OWNERS, number=st.integers(1, 2), wanted=st.integers(0, 8),
          resources=RESOURCES, strategy=STRATEGIES, urgent=st.booleans(), home=NODES)  # fmt: skip
    def want(self, owner, number, wanted, resources, strategy, urgent, home):
        spec = SchedulingClass(resources, strategy)
        return self.take(self.leases.demand(
            self.name(owner), number, wanted, self.now, spec=spec, urgent=urgent, home=home
        ))  # fmt: skip

    @rule(target=granted, held=RESOURCES)
    def want_actor(self, held):
        self.actors += 1
        spec = SchedulingClass({"CPU": UNITS})
        return self.take(self.leases.demand(
            f"actor:{self.actors}", 0, 1, self.now, spec=spec, lifetime=held
        ))  # fmt: skip

    @precondition(lambda self: self.actors)
    @rule()
    def cancel_actor(self):
        lease = self.leases.cancel(f"actor:{self.actors}", 0)
        assert lease is None or lease.id in self.living

    @rule(target=granted, id=consumes(granted))
    def lease_ends(self, id):
        self.living.pop(id, None)
        return self.take(self.leases.ended(id, self.now))

    @rule(target=granted, id=granted)
    def task_blocks(self, id):
        return self.take(self.leases.blocked(id, self.now))

    @rule(id=granted)
    def task_goes_on(self, id):
        self.leases.unblocked(id)

    @rule(owner=OWNERS)
    def owner_dies(self, owner):
        name = self.name(owner)
        self.deaths[owner] += 1
        expected = {id for id, lease in self.living.items() if lease.demand.owner == name}
        gone = {lease.id for lease in self.leases.forget_owner(name)}
        assert gone == expected

    @rule(target=granted)
    def nothing_that_fits_is_left_ungranted(self):
        """A tick does what was left over; after it, nobody who lacks fits anywhere."""
        new = self.take(self.leases.tick(self.now))
        for demand in self.leases.lacking:
            for node in self.leases.nodes.values():
                assert not self.leases.policy.may(demand, node, self.leases.nodes), demand.key
        return new

    @invariant()
    def is_valid(self):
        self.leases.validate()
        assert self.leases.leases == self.living

    def teardown(self):
        """Nobody starves: with tasks that end when called back, each demand has its turn."""
        for node in self.leases.nodes.values():
            self.leases.drain_node(node.name, False)
            self.leases.set_external(node.name, 0, self.now)
        for id in list(self.living):
            self.leases.unblocked(id)
        for id, lease in list(self.living.items()):
            if lease.demand.lifetime is not None or lease.ending:
                self.lease_ends_now(id)
        hungry = {
            demand.key
            for demand in self.leases.lacking
            if not demand.leases and self.leases.policy.able(demand, self.leases.nodes)
        }
        for _ in range(600):
            self.now += 0.1
            for what in self.leases.tick(self.now):
                if type(what) is CallBack:
                    self.lease_ends_now(what.lease.id)
            for id, lease in list(self.leases.leases.items()):
                hungry.discard(lease.demand.key)
                if lease.demand.lifetime is not None:
                    self.lease_ends_now(id)
            self.leases.validate()
            if not hungry:
                return
        raise AssertionError(f"never served: {hungry}")

    def lease_ends_now(self, id):
        self.living.pop(id, None)
        for what in self.leases.ended(id, self.now):
            if type(what) is Grant:
                self.living[what.lease.id] = what.lease


LeasesMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestLeases = LeasesMachine.TestCase
