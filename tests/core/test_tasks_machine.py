"""An owner's tasks and a simulated cluster, events in any order: each task ends exactly once."""

from __future__ import annotations

from collections import deque

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ray_on_dask.core import tasks as t
from ray_on_dask.wire.messages import INLINE, SchedulingClass, Task, Value

NOTHING = Value(INLINE)
CPUS = 3
PICK = st.integers(0, 1 << 16)


class Executor:
    """What the machine's executors do: run the first, give back the others when asked."""

    def __init__(self, lease, key):
        self.lease, self.key = lease, key
        self.queue = deque()
        self.running = None
        self.ending = False


class TasksMachine(RuleBasedStateMachine):
    """The model: demands and leases as a control store has them, executors with queues."""

    def __init__(self):
        super().__init__()
        self.owner = t.Tasks()
        for key in (1, 2):
            self.owner.add_class(key, SchedulingClass({"CPU": 10_000}), CPUS)
        self.now = 1.0
        self.executors = {}
        #: As the control store has it; the spec of a class is there from its first demand on.
        self.wanted = {1: 0, 2: 0}
        self.leases_made = 0
        self.submitted = {}
        self.waiting = []
        self.ended = []

    # -- what the shell and the control store do ------------------------------------------

    def do(self, instructions):
        for what in instructions:
            if isinstance(what, t.PushTasks):
                executor = self.executors.get(what.lease.id)
                if executor is not None:
                    executor.queue.extend(what.tasks)
                    self.start(executor)
            elif isinstance(what, t.SendDemand):
                assert what.wanted >= 0
                self.wanted[what.key] = what.wanted
            elif isinstance(what, t.RecallTasks):
                self.give_back(what.lease, what.count)
            elif isinstance(what, t.GiveBackLease):
                executor = self.executors.pop(what.lease)
                assert not executor.queue and executor.running is None
                held = self.held(executor.key) + 1
                self.wanted[executor.key] = max(0, min(self.wanted[executor.key], held - 1))
            else:
                self.end(what.task)

    def held(self, key):
        return sum(executor.key == key for executor in self.executors.values())

    @staticmethod
    def start(executor):
        if executor.running is None and executor.queue:
            executor.running = executor.queue.popleft()

    def give_back(self, lease, count):
        executor = self.executors.get(lease)
        back = []
        while executor is not None and executor.queue and len(back) < count:
            back.append(executor.queue.pop().task.id)
        self.do(self.owner.given_back(lease, back[::-1], self.now))

    def end(self, task):
        assert task.task.id not in self.ended, "ended twice"
        self.ended.append(task.task.id)

    def grant(self):
        """One lease for the class that holds least, if a CPU is free; whether there was one."""
        lacking = [key for key in (1, 2) if self.wanted[key] > self.held(key)]
        if not lacking or len(self.executors) >= CPUS:
            return False
        key = min(lacking, key=self.held)
        self.leases_made += 1
        self.executors[self.leases_made] = Executor(self.leases_made, key)
        self.do(self.owner.granted(self.leases_made, key, f"x{self.leases_made}", self.now))
        return True

    def finish(self, executor, seconds):
        done = executor.running
        executor.running = None
        found = self.owner.finished(executor.lease, done.task.id, seconds, self.now)
        if found is not None:
            self.end(found)
        self.start(executor)
        self.do(self.owner.refill(executor.lease, self.now))

    def busy(self, pick):
        running = [x for x in self.executors.values() if x.running is not None]
        return running[pick % len(running)] if running else None

    # -- events ---------------------------------------------------------------------------------

    @rule(count=st.integers(1, 40), key=st.sampled_from([1, 2]), retries=st.integers(-1, 2),
          waits=st.booleans())  # fmt: skip
    def submit(self, count, key, retries, waits):
        for _ in range(count):
            id = b"%d" % len(self.submitted)
            task = t.OwnedTask(Task(id, b"f", NOTHING), key, retries)
            task.missing = int(waits)
            if waits:
                self.waiting.append(task)
            self.submitted[id] = task
            self.do(self.owner.submit(task, self.now))

    @precondition(lambda self: self.waiting)
    @rule(pick=PICK)
    def argument_comes(self, pick):
        task = self.waiting.pop(pick % len(self.waiting))
        self.do(self.owner.dependency_ready(task, self.now))

    @rule(seconds=st.sampled_from([0.001, 0.01, 0.1]))
    def tick(self, seconds):
        self.now += seconds
        self.do(self.owner.tick(self.now))

    @rule()
    def flush(self):
        self.do(self.owner.flush(self.now))

    @rule()
    def a_lease_is_granted(self):
        self.grant()

    @rule(pick=PICK, seconds=st.sampled_from([1e-5, 0.001, 0.1]), count=st.integers(1, 10))
    def tasks_end(self, pick, seconds, count):
        for _ in range(count):
            executor = self.busy(pick)
            if executor is not None:
                self.finish(executor, seconds)

    @rule(pick=PICK)
    def a_task_raises_and_is_run_again(self, pick):
        executor = self.busy(pick)
        if executor is None:
            return
        task, executor.running = executor.running, None
        if self.owner.finished(executor.lease, task.task.id, 0.001, self.now) is not None:
            self.do(self.owner.again(task, self.now))
        self.start(executor)
        self.do(self.owner.refill(executor.lease, self.now))

    @rule(pick=PICK)
    def a_task_blocks(self, pick):
        executor = self.busy(pick)
        if executor is not None:
            self.owner.executor_blocked(executor.lease)
            self.give_back(executor.lease, 1 << 20)

    @rule(pick=PICK)
    def a_lease_is_called_back(self, pick):
        if self.executors:
            executor = list(self.executors.values())[pick % len(self.executors)]
            self.give_back(executor.lease, 1 << 20)
            if executor.running is None:
                del self.executors[executor.lease]
                self.do(self.owner.ended(executor.lease, self.now))

    @rule(pick=PICK, stale=st.booleans())
    def an_executor_dies(self, pick, stale):
        if not self.executors:
            return
        executor = self.executors.pop(list(self.executors)[pick % len(self.executors)])
        running = executor.running.task.id if executor.running is not None else b""
        self.do(self.owner.lost(executor.lease, running, "killed", self.now))
        if stale:
            assert self.owner.finished(executor.lease, running, 0.1, self.now) is None
            assert self.owner.given_back(executor.lease, [running], self.now) == []

    @precondition(lambda self: self.owner.tasks)
    @rule(pick=PICK)
    def somebody_waits_for_a_task(self, pick):
        tasks = list(self.owner.tasks.values())
        self.do(self.owner.hurry(tasks[pick % len(tasks)]))

    @precondition(lambda self: self.owner.tasks)
    @rule(pick=PICK)
    def a_task_is_cancelled(self, pick):
        waiting = [x for x in self.owner.tasks.values() if x.state in (t.WAITING, t.QUEUED)]
        if waiting:
            task = waiting[pick % len(waiting)]
            self.owner.remove(task)
            if task in self.waiting:
                self.waiting.remove(task)
            self.end(task)

    # -- what must hold --------------------------------------------------------------------------

    @invariant()
    def is_valid(self):
        self.owner.validate()
        assert set(self.owner.tasks) == set(self.submitted) - set(self.ended)
        assert set(self.owner.leases) == set(self.executors)
        for id, executor in self.executors.items():
            there = {task.task.id for task in executor.queue}
            if executor.running is not None:
                there.add(executor.running.task.id)
            assert there >= set(self.owner.leases[id].aboard), "aboard, but not there"
        for key, group in self.owner.classes.items():
            assert group.wanted <= self.wanted[key], "it thinks that it has asked for more"

    def teardown(self):
        """Left alone, with executors that work, all that was submitted ends."""
        while self.waiting:
            self.argument_comes(0)
        for _ in range(4000):
            self.now += 0.01
            self.do(self.owner.tick(self.now))
            while self.grant():
                pass
            for executor in list(self.executors.values()):
                if executor.running is not None:
                    self.finish(executor, 0.001)
            self.is_valid()
            if not self.owner.busy:
                break
        assert not self.owner.tasks, "they never end"
        assert not self.executors, "leases are kept for nothing"
        assert self.wanted == {1: 0, 2: 0}, "CPUs are wanted for nothing"


TasksMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestTasks = TasksMachine.TestCase


class TestTwoTasksThatMeet:
    """The owner's side of "pipelining never shows", with time simulated in milliseconds.

    Some tasks end only when another one has started. Whatever was learned of the durations
    before, as long as there are CPUs for all that wait, every task ends.
    """

    def test_all_orders_of_short_and_waiting_tasks(self):
        for learned in (0.0, 1e-5, 0.001, 0.02):
            for pattern in ("W.r", "W..........r", "..W....r...", "WWrr", "W.W.r.r"):
                self.play(pattern, learned)
            self.play("." * 40 + "Wr", learned)

    @staticmethod
    def play(pattern, learned):
        machine = TasksMachine()
        owner, waits = machine.owner, {}
        owner.classes[1].seconds = learned
        released = [number for number, kind in enumerate(pattern) if kind == "r"]
        waiters = [number for number, kind in enumerate(pattern) if kind == "W"]
        for waiter, release in zip(waiters, released, strict=True):
            waits[b"%d" % waiter] = b"%d" % release
        machine.submit(len(pattern), 1, 0, False)
        machine.do(owner.flush(machine.now))
        started = set()
        for _ in range(500):
            machine.now += 0.001
            machine.do(owner.tick(machine.now))
            machine.grant()
            for executor in list(machine.executors.values()):
                if executor.running is None:
                    continue
                id = executor.running.task.id
                started.add(id)
                if waits.get(id) is None or waits[id] in started:
                    machine.finish(executor, 0.001)
            if not owner.tasks:
                return
        raise AssertionError(f"{pattern!r} with {learned} s learned never ends")
