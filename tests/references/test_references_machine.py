"""Random programs that put, pass, return, nest and drop refs while processes die.

After every step nothing that can be reached is freed; when all is quiet, all that can be
reached can be read, and nothing else is left anywhere.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import Phase, given, settings, strategies as st
from simulated import Call, Result, Simulated, World, forget_dropped

from ray_on_dask.runtime.object_ref import ObjectRef
from ray_on_dask.wire import messages as m


class RandomPrograms:
    """One program for each seed, with its delays and deaths."""

    def __init__(self, seed: int) -> None:
        forget_dropped()
        self.random = Random(seed)
        self.world = World()
        for _ in range(3):
            self.world.start()

    def play(self, steps: int) -> None:
        rules = [
            *[self.put, self.call, self.run, self.read, self.drop, self.drain] * 2,
            *[self.deliver] * 6, self.kill, self.start, self.lapse,
        ]  # fmt: skip
        gc.disable()  # what it collects of others would be taken for refs of these processes
        try:
            for _ in range(steps):
                self.random.choice(rules)()
                self.tables_agree()
            self.end()
        finally:
            gc.enable()

    # -- choosing ------------------------------------------------------------------------------

    def a_process(self) -> Simulated:
        return self.world.processes[self.random.choice(sorted(self.world.processes))]

    def some(self, refs: list[ObjectRef[Any]], most: int = 2) -> list[ObjectRef[Any]]:
        return self.random.sample(refs, self.random.randint(0, min(most, len(refs))))

    def a_bool(self) -> bool:
        return self.random.random() < 0.5

    # -- programs ------------------------------------------------------------------------------

    def put(self) -> None:
        process = self.a_process()
        process.variables.append(process.put(self.some(process.variables), self.a_bool()))

    def call(self) -> None:
        process = self.a_process()
        others = sorted(set(self.world.processes) - {process.name})
        if others:
            given = self.some([x for x in process.variables if x._entry.kind in (0, 1)])
            inner = self.some(process.variables)
            process.variables.append(process.call(self.random.choice(others), inner, given))

    def run(self) -> None:
        """A task keeps some of what it finds, and returns some of what it has."""
        ready = sorted(p.name for p in self.world.processes.values() if p.queue and not p.unsent)
        if not ready:
            return
        process = self.world.processes[self.random.choice(ready)]
        call = process.queue.popleft()
        found = process.arguments(call)
        process.variables += self.some(found)
        if self.a_bool():
            found.append(process.put(self.some(found), self.a_bool()))
        returned = self.some(found + process.variables)
        found.clear()
        process.finish(call, returned, self.a_bool())
        self.world.take_dropped(process)

    def read(self) -> None:
        process = self.a_process()
        for ref in self.some(process.variables, 1):
            process.variables += process.read(ref)

    def drop(self) -> None:
        process = self.a_process()
        dropped = self.some(process.variables, 3)
        process.variables = [ref for ref in process.variables if ref not in dropped]
        dropped.clear()
        self.world.take_dropped(process)

    def drain(self) -> None:
        self.world.drain(self.a_process())

    # -- time ----------------------------------------------------------------------------------

    def deliver(self) -> None:
        for _ in range(self.random.randint(1, 4)):
            lines = self.world.lines()
            if lines:
                self.world.deliver(*self.random.choice(lines))

    def kill(self) -> None:
        if len(self.world.processes) > 1:
            process = self.a_process()
            self.world.kill(process, self.random.randint(0, min(3, len(process.out))))

    def start(self) -> None:
        if len(self.world.processes) < 4:
            self.world.start()

    def lapse(self) -> None:
        if self.world.dead:
            self.world.lapse(self.world.dead[self.random.choice(sorted(self.world.dead))])

    # -- what must hold ------------------------------------------------------------------------

    def tables_agree(self) -> None:
        self.world.directory.validate()
        for process in self.world.processes.values():
            process.references.validate()

    def settle(self) -> None:
        """Deliver everything, run everything, bury the dead, until nothing happens any more."""
        world = self.world
        for _ in range(10_000):
            busy = False
            for process in list(world.processes.values()):
                world.drain(process)
                if process.queue and not process.unsent:
                    call = process.queue.popleft()
                    process.arguments(call).clear()
                    process.finish(call, [], False)
                    world.take_dropped(process)
                    busy = True
            for sender, to in world.lines():
                world.deliver(sender, to)
                busy = True
            for process in list(world.dead.values()):
                world.lapse(process)
                busy = True
            if not busy:
                return
        raise AssertionError("it never comes to rest")

    def end(self) -> None:
        self.settle()
        world = self.world
        self.read_all()
        self.settle()
        reachable = world.reachable()
        for process in world.processes.values():
            assert all(map(self.can_be_read, process.variables))
            assert not process.owed and not process.handing
            assert not process.references.taken
        entries = world.directory._table.entries
        assert set(entries) <= reachable, "the directory keeps what nobody can reach"
        assert world.stored <= reachable, "what nobody can reach is stored"
        for process in world.processes.values():
            assert set(process.references.known) <= reachable
        self.everything_goes_with_the_last_refs()

    def read_all(self) -> None:
        for process in self.world.processes.values():
            for ref in process.variables:
                process.read(ref)
            self.world.take_dropped(process)

    def can_be_read(self, ref: ObjectRef[Any]) -> bool:
        entry = ref._entry
        if entry.kind == m.ERROR:
            owner = entry.id[:8].hex()
            lost = entry.id not in self.world.valued
            assert entry.data == b"crashed" or lost or not entry.owned
            assert entry.data != b"OwnerDiedError" or (
                lost and owner not in self.world.processes
            ), "its owner is dead, but others had its value"
        elif entry.kind == m.STORED:
            assert entry.id in self.world.stored, "it was freed"
        else:
            assert entry.kind == m.INLINE, f"{entry.id.hex()} is lost: {entry.kind}"
        return True

    def everything_goes_with_the_last_refs(self) -> None:
        world = self.world
        for process in world.processes.values():
            process.variables.clear()
            world.take_dropped(process)
        self.settle()
        assert not world.directory._table.entries and not world.stored
        for process in world.processes.values():
            assert not process.references.known


LONGER = int(os.environ.get("RAY_ON_DASK_LONG_TESTS", "1"))


@settings(max_examples=300 * LONGER, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(st.integers(0, 2**32))
def test_random_programs(seed: int) -> None:
    """The seed is all there is to shrink."""
    RandomPrograms(seed).play(60)


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    yield
    forget_dropped()


def test_what_a_process_handed_out_and_did_not_live_to_send_is_not_kept() -> None:
    """The executor dies between the result and its sending: its owner holds nothing unawares."""
    world = World()
    owner, executor = world.start(), world.start()
    made = [owner.call(executor.name, [], [])]
    world.deliver(owner.name, executor.name)
    call = executor.queue.popleft()
    executor.arguments(call)
    executor.finish(call, [executor.put([], True)], False)
    sent = [message for _, message in executor.out]
    assert isinstance(sent[-1], Result) and not isinstance(sent[0], Call)
    world.kill(executor, 1)
    world.lapse(executor)
    assert not world.stored and not world.directory._table.entries
    assert made[0]._entry.kind == m.ERROR
