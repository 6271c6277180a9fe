"""Calls at their caller while the actor lives, dies, restarts and loses lines, in any order.

The process around `ActorCalls` is a stand-in: its lines are lists, arguments become ready when the
machine says so. The model knows what each call is worth: its value once, or an error if it has
no retries left; and that what an incarnation was sent is in the order of the calls.
"""

from __future__ import annotations

import contextlib
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ray_on_dask.api.actor_handle import MethodPlan
from ray_on_dask.runtime import actor_calls, arguments
from ray_on_dask.runtime.actor_calls import ActorCalls
from ray_on_dask.runtime.object_ref import Entry, ref_to
from ray_on_dask.wire import messages as m

ACTOR = b"a" * 16


class Line:
    """What was sent to one incarnation."""

    def __init__(self, incarnation: int) -> None:
        self.incarnation = incarnation
        self.tasks: list[m.Task] = []
        self.answered = 0
        self.closed = False
        self.state_actor: Any = None
        self.state: Any = None

    def send(self, message: Any) -> None:
        assert not self.closed, "sent on a closed line"
        if isinstance(message, m.Push):
            self.tasks += message.tasks

    def read_rest(self) -> None:
        assert not self.closed

    def close(self) -> None:
        self.closed = True


class References:
    """Entries that are completed once."""

    taken = ()

    def __init__(self) -> None:
        self.waiting: list[tuple[Entry, Any]] = []

    def when_ready(self, entry: Entry, call: Any) -> None:
        if entry.kind == m.PENDING:
            self.waiting.append((entry, call))
        else:
            call(entry)

    def complete(self, entry: Entry, value: m.Value) -> None:
        assert entry.kind == m.PENDING, "a call has returned twice"
        entry.kind, entry.data = value.kind, value.data

    def promote(self, ref: Any) -> None:
        pass

    def value_of(self, entry: Entry) -> m.Value:
        return m.Value(entry.kind, entry.data)


class Others:
    """The parts of a process that are only told."""

    def forget(self, actor: bytes) -> None:
        pass

    def over(self, call: Any, value: Any = None) -> None:
        pass


class Process:
    """As much of a process as calls need."""

    def __init__(self) -> None:
        self.lock = contextlib.nullcontext()
        self.references = References()
        self.creating = self.recovery = Others()
        self.current_task = b""
        self._hub_out: list[object] = []
        self.said: list[object] = []

    def now(self) -> float:
        return 0.0

    def to_hub(self, message: object) -> None:
        self.said.append(message)

    def send_out(self) -> None:
        pass


class Calls(RuleBasedStateMachine):
    """One caller, one actor."""

    @initialize(retries=st.sampled_from([0, 2, -1]), loose=st.booleans(), far=st.booleans())
    def begin(self, retries: int, loose: bool, far: bool) -> None:
        self.address = "" if far else "address"
        self.process = Process()
        self.calls = ActorCalls(self.process)  # type: ignore[arg-type]
        self.plan = MethodPlan(
            None, b"f", 1, m.METHOD, "A.m", 0, "", retries, False, loose, -1, None
        )  # fmt: skip
        self.loose = loose
        self.lines: list[Line] = []
        #: What each call gives, in the order of the calls.
        self.made: list[Entry] = []
        self.state, self.incarnation = "PENDING", 0
        self.calls.known(ACTOR)
        self.patched = pytest.MonkeyPatch()
        self.patched.setattr(actor_calls, "open_line", self.open)

    def teardown(self) -> None:
        if hasattr(self, "patched"):
            self.patched.undo()

    def open(self, process: Any, name: str, address: str, node: str, on_close: Any) -> Line | None:
        if self.refuse:
            return None
        self.lines.append(Line(self.incarnation))
        return self.lines[-1]

    refuse = False

    @property
    def line(self) -> Line | None:
        """The line in use."""
        line = self.calls.actors[ACTOR].line
        return line  # type: ignore[return-value]

    def tell(self, state: str, **facts: Any) -> None:
        self.state = state
        self.calls.on_actor_state(
            None, m.ActorState(ACTOR, state, self.incarnation, "p", self.address, **facts)
        )  # type: ignore[arg-type]

    @rule(late=st.booleans(), count=st.integers(1, 3))
    def call(self, late: bool, count: int) -> None:
        for number in range(count):
            packed = arguments.Arguments()
            if late and not number:
                argument = Entry(b"argument" + len(self.made).to_bytes(12, "big"))
                packed.dependencies = ((0, ref_to(argument)),)
            id = len(self.made).to_bytes(16, "big")
            task = m.Task(id, b"f", m.Value(m.INLINE), [], 1, m.METHOD, 0, "A.m", "m")
            ref = self.calls.call(ACTOR, task, packed, self.plan)
            self.made.append(ref._entry)

    @rule(data=st.data())
    def an_argument_comes(self, data: Any) -> None:
        waiting = self.process.references.waiting
        if waiting:
            entry, call = waiting.pop(data.draw(st.integers(0, len(waiting) - 1)))
            entry.kind, entry.data = m.INLINE, b""
            call(entry)

    @rule(refuse=st.booleans())
    def it_lives(self, refuse: bool) -> None:
        if self.state in ("PENDING", "RESTARTING"):
            self.refuse = refuse
            self.tell("ALIVE")
            self.refuse = False

    @rule(count=st.integers(1, 5))
    def it_answers(self, count: int) -> None:
        line = self.line
        if line is None:
            return
        tasks = line.tasks[line.answered : line.answered + count]
        line.answered += len(tasks)
        value = m.Value(m.INLINE, b"value")
        results = [m.Result(task.id, m.DONE, [value], 0.0) for task in tasks]
        self.calls.on_results(line, m.Results(0, results))  # type: ignore[arg-type]

    @rule()
    def its_line_breaks(self) -> None:
        if self.line is not None:
            line = self.line
            line.close()
            self.calls._line_down(line)  # type: ignore[arg-type]

    @rule()
    def its_line_is_mended(self) -> None:
        if self.calls.actors[ACTOR].ending is not None:
            self.calls.look_after(actor_calls.DOWN_GRACE + 1.0)
            assert self.calls.actors[ACTOR].state == "DEAD"
        elif self.calls.down:
            self.process.said.clear()
            self.calls.look_after(actor_calls.DOWN_GRACE + 1.0)
            assert [type(message) for message in self.process.said] == [m.WatchActor]
            self.tell("ALIVE")
            assert not self.calls.down

    @rule(again=st.sampled_from([True, True, True, True, False]))
    def its_process_dies(self, again: bool) -> None:
        if self.state in ("DEAD", "RESTARTING"):
            return
        self.incarnation += 1
        if again:
            self.tell("RESTARTING", reason="it crashed")
        else:
            self.tell("DEAD", error=b"dead")

    @rule()
    def it_starts_again(self) -> None:
        self.its_process_dies(True)
        self.it_lives(False)

    @rule()
    def stale_news_comes(self) -> None:
        before = (self.calls.actors[ACTOR].state, self.calls.actors[ACTOR].line)
        self.calls.on_actor_state(
            None,  # type: ignore[arg-type]
            m.ActorState(ACTOR, "ALIVE", self.incarnation - 1, "p", self.address),
        )
        assert (self.calls.actors[ACTOR].state, self.calls.actors[ACTOR].line) == before

    @rule()
    def what_was_collected_is_sent(self) -> None:
        self.calls.flush()

    @invariant()
    def each_incarnation_sees_the_calls_in_order_and_once(self) -> None:
        for line in getattr(self, "lines", ()):
            numbers = [int.from_bytes(task.id, "big") for task in line.tasks]
            assert len(set(numbers)) == len(numbers)
            assert self.loose or numbers == sorted(numbers)

    @invariant()
    def what_has_no_result_is_queued_or_aboard(self) -> None:
        if not hasattr(self, "calls"):
            return
        actor = self.calls.actors[ACTOR]
        pending = [entry for entry in self.made if entry.kind == m.PENDING]
        kept = [call.returns[0] for call in (*actor.queue, *actor.aboard.values())]
        assert {id(entry) for entry in pending} == {id(entry) for entry in kept}
        assert not (actor.state == "DEAD" and pending), "a call that never ends"

    @invariant()
    def no_call_is_made_more_often_than_allowed(self) -> None:
        if hasattr(self, "calls") and self.plan.retries >= 0:
            tasks = [task for line in self.lines for task in line.tasks]
            assert all(task.attempt <= self.plan.retries for task in tasks)

    @invariant()
    def with_endless_retries_only_death_is_an_error(self) -> None:
        if hasattr(self, "calls") and self.plan.retries < 0 and self.state != "DEAD":
            assert all(entry.kind != m.ERROR for entry in self.made)

    @invariant()
    def nothing_ready_waits_while_the_line_is_idle(self) -> None:
        if not hasattr(self, "calls"):
            return
        actor = self.calls.actors[ACTOR]
        if actor.line is not None and not actor.aboard and actor.queue:
            assert actor.queue[0].missing or actor in self.calls._dirty


def test_results_from_another_host_may_come_after_news_of_the_end() -> None:
    """The news goes by the control store, and results by the nodes."""
    machine = Calls()
    machine.begin(0, False, True)
    machine.it_lives(False)
    machine.call(False, 3)
    machine.its_process_dies(False)
    machine.it_answers(1)
    machine.stale_news_comes()
    machine.it_answers(1)
    machine.its_line_breaks()
    assert [entry.kind for entry in machine.made] == [m.INLINE, m.INLINE, m.ERROR]
    assert machine.calls.actors[ACTOR].state == "DEAD" and not machine.calls.down
    machine.teardown()


TestCalls = Calls.TestCase
TestCalls.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
