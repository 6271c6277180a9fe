"""Room in a store: who waits, what moves to disk, and what never does."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
)

from ray_on_dask.core import spilling as s

CAPACITY = 100


class Count:
    """The count of a store with room for 100 bytes."""

    def __init__(self, used=0):
        self.used = used

    def charge(self, size):
        fits = self.used + size <= CAPACITY
        self.used += size if fits else 0
        return fits


@pytest.fixture
def room():
    machine = s.Spilling(batch=30)
    yield machine
    machine.validate()


@pytest.fixture
def count():
    return Count(90)


def pressed(room, count, *processes):
    """`room` when all have answered that they read nothing."""
    room.need(("w", 1), 20, False, 0.0, 30.0)
    assert room.work(0.0, count.charge, processes) == [s.Press(1, processes)]
    for process in processes:
        room.viewed(process, 1, [])
    return room


def test_what_fits_is_given_at_once_and_counts_until_it_is_taken(room, count):
    room.need(("w", 1), 10, False, 0.0, 30.0)
    assert room.work(0.0, count.charge, ["w"]) == [s.GiveRoom(("w", 1), 10)]
    assert count.used == 100 and not room.pressed
    assert room.took(("w", 1)) == 10 and room.took(("w", 1)) == 0


def test_nothing_moves_before_all_have_told_what_they_read(room, count):
    """A process that has mapped an object without a word is in time to say so."""
    for id in (b"a", b"b", b"c"):
        room.sealed(id, 30)
    room.need(("w", 1), 20, False, 0.0, 30.0)
    assert room.work(0.0, count.charge, ["w", "r"]) == [s.Press(1, ("w", "r"))]
    room.viewed("w", 1, [])
    assert room.work(1.0, count.charge, ["w", "r"]) == []
    room.viewed("r", 1, [b"a"])
    assert room.work(2.0, count.charge, ["w", "r"]) == [s.Spill((b"b",))]


def test_a_process_that_dies_is_not_waited_for(room, count):
    room.sealed(b"a", 30)
    room.need(("w", 1), 20, False, 0.0, 30.0)
    room.work(0.0, count.charge, ["w", "r"])
    room.viewed("w", 1, [])
    assert room.process_gone("r") == ([], 0)
    assert room.work(0.0, count.charge, ["w"]) == [s.Spill((b"a",))]


def test_what_is_opened_or_freed_while_it_is_copied_does_not_move(room, count):
    for id in (b"a", b"b", b"c"):
        room.sealed(id, 10)
    pressed(room, count, "w")
    assert room.work(0.0, count.charge, ["w"]) == [s.Spill((b"a", b"b", b"c"))]
    room.opened("r", b"a")
    room.freed(b"b")
    assert room.spilled([b"a", b"b", b"c"], 0.0) == [b"c"]
    assert list(room.memory) == [b"a"] and list(room.disk) == [b"c"]


def test_the_least_recently_read_goes_first(room, count):
    for id in (b"a", b"b", b"c"):
        room.sealed(id, 30)
    pressed(room, count, "w")
    room.opened("r", b"a")
    assert room.closed("r", [b"a"]) == [b"a"]
    assert room.work(0.0, count.charge, ["w"]) == [s.Spill((b"b",))]


def test_room_goes_to_who_waited_first_and_moves_go_on_until_there_is_enough(room, count):
    for id in (b"a", b"b"):
        room.sealed(id, 45)
    pressed(room, count, "w")
    room.need(("v", 1), 10, False, 0.0, 30.0)
    assert room.work(0.0, count.charge, ["w"]) == [s.Spill((b"a",))]
    room.spilled([b"a"], 0.0)
    assert room.work(0.01, count.charge, ["w"]) == [], "what has moved is about to be given back"
    count.used -= 45
    out = room.work(0.02, count.charge, ["w"])
    assert out == [s.GiveRoom(("w", 1), 20), s.GiveRoom(("v", 1), 10)]
    assert count.used == 75


def test_who_dies_gives_back_what_was_promised(room, count):
    room.need(("w", 1), 10, False, 0.0, 30.0)
    room.work(0.0, count.charge, [])
    room.need(("w", 2), 10, False, 0.0, 30.0)
    assert room.process_gone("w") == ([], 10)
    assert not room.waiting


def test_who_waits_in_vain_is_told_so(room, count):
    room.sealed(b"a", 90)
    pressed(room, count, "w")
    room.opened("r", b"a")
    assert room.work(29.0, count.charge, ["w"]) == []
    assert room.work(30.0, count.charge, ["w"]) == [s.Refuse(("w", 1), 20, "")]


def test_nobody_is_refused_while_objects_move(room, count):
    for id in (b"a", b"b"):
        room.sealed(id, 30)
    pressed(room, count, "w")
    room.work(0.0, count.charge, ["w"])
    assert room.work(40.0, count.charge, ["w"]) == [], "they are being copied"
    room.spilled([b"a"], 40.0)
    assert room.work(41.0, count.charge, ["w"]) == [s.Spill((b"b",))]
    room.spilled([], 41.0)
    assert s.Refuse(("w", 1), 20, "") in room.work(70.0, count.charge, ["w"])


def test_a_disk_that_is_full_refuses_those_who_wait_and_loses_nothing(room, count):
    room.sealed(b"a", 30)
    pressed(room, count, "w")
    room.work(0.0, count.charge, ["w"])
    assert room.failed("No space left") == [s.Refuse(("w", 1), 20, "No space left")]
    assert list(room.memory) == [b"a"] and not room.waiting
    room.need(("w", 2), 20, False, 30.0, 30.0)
    assert room.work(1.0, count.charge, ["w"]) == [s.Spill((b"a",))]


def test_a_full_file_system_gives_room_only_for_what_has_moved(room):
    count = Count(0)
    room.sealed(b"a", 20)
    room.need(("w", 1), 20, True, 0.0, 30.0)
    assert room.work(0.0, count.charge, ["w"]) == [s.Press(1, ("w",))]
    room.viewed("w", 1, [])
    assert room.work(0.0, count.charge, ["w"]) == [s.Spill((b"a",))]
    room.spilled([b"a"], 0.0)
    assert room.work(0.0, count.charge, ["w"]) == [s.GiveRoom(("w", 1), 20)]
    room.need(("w", 2), 20, True, 0.0, 30.0)
    assert room.work(1.0, count.charge, ["w"]) == [s.Refuse(("w", 2), 20, "")], "nothing is left"


def test_pressure_ends_when_nothing_has_been_on_disk_for_a_while(room, count):
    room.sealed(b"a", 30)
    pressed(room, count, "w")
    room.work(0.0, count.charge, ["w"])
    room.spilled([b"a"], 0.0)
    count.used = 0
    room.work(1.0, count.charge, ["w"])
    room.took(("w", 1))
    assert room.work(100.0, count.charge, ["w"]) == []
    room.freed(b"a")
    assert room.work(101.0, count.charge, ["w"]) == []
    assert room.work(100.0 + s.CALM, count.charge, ["w"]) == [s.Relax()]
    room.need(("w", 2), 101, False, 105.0, 30.0)
    assert room.work(110.0, count.charge, ["w"]) == [s.Press(2, ("w",))]
    room.viewed("w", 1, [])
    assert room.unanswered == {"w"}, "an answer to an older question"


class Machine(RuleBasedStateMachine):
    """Processes that write, read, wait and die; a model of what each of them has mapped."""

    ids = st.binary(min_size=1, max_size=1)
    names = st.sampled_from("pqr")

    def __init__(self):
        super().__init__()
        self.room, self.count, self.now = s.Spilling(batch=30), Count(), 0.0
        #: {process: objects of which it has mapped the place in memory}.
        self.mapped = {name: set() for name in "pqr"}
        self.asked: dict[str, int] = {}
        self.flag, self.numbers, self.given = False, 0, []
        self.copies: tuple[bytes, ...] = ()

    def do(self, out):
        for what in out:
            if isinstance(what, s.Press):
                self.flag = True
                self.asked = dict.fromkeys(what.processes, what.epoch)
            elif isinstance(what, s.Relax):
                assert not self.room.disk
                self.flag = False
            elif isinstance(what, s.Spill):
                assert not self.copies
                self.copies = what.ids
            elif isinstance(what, s.GiveRoom):
                self.given.append(what.request)

    @rule(id=ids)
    def seal(self, id):
        if id not in self.room.memory and id not in self.room.disk:
            self.count.used += 10
            self.room.sealed(id, 10)

    @rule(id=ids)
    def free(self, id):
        if not any(id in them for them in self.mapped.values()):
            self.count.used -= self.room.memory.get(id, 0)
            self.room.freed(id)

    @rule(name=names, id=ids)
    def read(self, name, id):
        """Without a word before the flag is seen, by leave from then on."""
        if id in self.room.memory:
            if self.flag:
                self.room.opened(name, id)
            self.mapped[name].add(id)

    @rule(name=names)
    def close(self, name):
        if self.mapped[name] and name not in self.asked:
            self.room.closed(name, self.mapped[name])
        self.mapped[name].clear()

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def answer(self, data):
        name = data.draw(st.sampled_from(sorted(self.asked)))
        self.room.viewed(name, self.asked.pop(name), self.mapped[name])

    @rule(name=names, size=st.integers(1, 60), full=st.booleans())
    def wait_for_room(self, name, size, full):
        self.numbers += 1
        self.room.need((name, self.numbers), size, full, self.now, 30.0)

    @precondition(lambda self: self.given)
    @rule()
    def take(self):
        self.count.used -= self.room.took(self.given.pop())

    @rule(name=names)
    def die(self, name):
        self.mapped[name].clear()
        self.asked.pop(name, None)
        self.given = [request for request in self.given if request[0] != name]
        self.count.used -= self.room.process_gone(name)[1]

    @precondition(lambda self: self.copies)
    @rule(fails=st.booleans())
    def copied(self, fails):
        copies, self.copies = self.copies, ()
        if fails:
            self.do(self.room.failed("full"))
            return
        for id in self.room.spilled(copies, self.now):
            readers = [name for name, ids in self.mapped.items() if id in ids]
            assert not readers, f"{id!r} is moved under {readers}"
            self.count.used -= 10

    @rule(seconds=st.sampled_from([0.0, 0.06, 6.0, 31.0]))
    def work(self, seconds):
        self.now += seconds
        self.do(self.room.work(self.now, self.count.charge, "pqr"))

    @invariant()
    def valid(self):
        self.room.validate()
        assert self.count.used == 10 * len(self.room.memory) + sum(self.room.promised.values())
        assert self.flag == self.room.pressed


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
