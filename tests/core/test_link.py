"""A link between two nodes: flow control line by line, and comms that break under it."""

from __future__ import annotations

from collections import deque

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ray_on_dask.core.link import WINDOW, Deliver, Ended, Link, Opened, Pause, Resume
from ray_on_dask.wire.relay_messages import Batch, LineData, decode_batch, encode_batch


def move(sender, receiver, limit=1 << 30):
    """Send all that there is to send, one batch after the other; what the receiver is to do."""
    out = []
    while (batch := sender.take(limit)) is not None:
        out += receiver.arrived(decode_batch(encode_batch(batch)))
    return out


@pytest.fixture
def pair():
    pair = Link(True), Link(False)
    yield pair
    for link in pair:
        link.validate()


def test_bytes_of_two_lines_come_in_order_at_the_other_side(pair):
    a, b = pair
    one, two = a.open("x", "o"), a.open("y", "o")
    assert a.data(one, b"1") + a.data(two, b"2") + a.data(one, b"3") == []
    assert move(a, b) == [
        Opened(one, "x", "o"), Opened(two, "y", "o"),
        Deliver(one, b"1"), Deliver(two, b"2"), Deliver(one, b"3"),
    ]  # fmt: skip
    b.data(one, b"back")
    assert move(b, a) == [Deliver(one, b"back")]
    assert not a.waiting  # acknowledged on the way
    assert a.held_bytes == 0


def test_a_line_whose_process_takes_nothing_is_paused_and_others_go_on(pair):
    a, b = pair
    slow, quick = a.open("x", "o"), a.open("y", "o")
    assert a.data(slow, bytes(WINDOW)) == [Pause(slow)]
    assert a.data(quick, b"1") == []
    move(a, b)
    b.taken(slow, WINDOW // 2)
    assert move(b, a) == [Resume(slow)]
    assert a.data(slow, bytes(WINDOW // 2)) == [Pause(slow)]


def test_what_got_lost_with_a_comm_is_sent_again_and_nothing_twice(pair):
    a, b = pair
    line = a.open("x", "o")
    a.data(line, b"1")
    move(a, b)
    a.data(line, b"2")
    a.take(1 << 20)  # into a comm that breaks
    a.data(line, b"3")
    received_a, received_b = a.received, b.received
    a.connected(received_b), b.connected(received_a)
    assert move(a, b) == [Deliver(line, b"2"), Deliver(line, b"3")]


def test_records_that_come_again_are_dropped_and_missing_ones_noticed(pair):
    a, b = pair
    a.open("x", "o")
    batch = a.take(1 << 20)
    assert b.arrived(batch) and b.arrived(batch) == []
    with pytest.raises(ValueError, match="missing"):
        b.arrived(Batch(5, 0, []))
    with pytest.raises(ValueError, match="never sent"):
        b.arrived(Batch(1, 9, []))


def test_both_ends_may_close_a_line_at_once(pair):
    a, b = pair
    line = a.open("x", "o")
    move(a, b)
    a.end(line), b.end(line)
    assert move(a, b) == move(b, a) == []
    assert not a.lines and not b.lines
    assert a.data(line, b"late") == []


def test_both_sides_open_lines(pair):
    a, b = pair
    assert (a.open("x", "o"), b.open("y", "o")) == (1, 2)
    assert move(a, b) == [Opened(1, "x", "o")]
    assert move(b, a) == [Opened(2, "y", "o")]


def test_with_too_much_unacknowledged_nothing_is_read():
    a, b = Link(True, held_max=1000), Link(False)
    one, two = a.open("x", "o"), a.open("y", "o")
    assert a.data(one, bytes(900)) == []
    assert a.data(two, bytes(100)) == [Pause(two)]
    move(a, b)
    assert a.arrived(b.ping()) == [Resume(two)]


def test_a_lost_link_ends_its_lines(pair):
    a, _ = pair
    one, two = a.open("x", "o"), a.open("y", "o")
    assert a.lost() == [Ended(one), Ended(two)]
    assert not a.waiting


class Story(RuleBasedStateMachine):
    """Two sides, batches under way, comms that break; bytes are numbered per line."""

    def __init__(self):
        super().__init__()
        self.sides = [Link(True, 100, 400), Link(False, 100, 400)]
        self.way = [deque(), deque()]
        self.up = True
        #: {(side, line): bytes written there}, and {(side, line): bytes that came there}.
        self.written, self.came = {}, {}
        self.paused, self.untaken, self.closed = set(), {}, set()

    def carry_out(self, side, out):
        for what in out:
            key = side, what.line
            if type(what) is Opened:
                self.came[key] = self.written[key] = b""
                self.untaken[key] = 0
            elif type(what) is Deliver:
                self.came[key] += what.data
                self.untaken[key] += len(what.data)
                assert self.untaken[key] <= 100 + 60
            elif type(what) is Pause:
                assert key not in self.paused
                self.paused.add(key)
            elif type(what) is Resume:
                self.paused.remove(key)
            else:
                self.closed.add(key)

    @rule(side=st.sampled_from([0, 1]))
    def open(self, side):
        line = self.sides[side].open("x", "o")
        self.written[side, line] = self.came[side, line] = b""
        self.untaken[side, line] = 0

    def lines(self, side):
        return [x for x in self.sides[side].lines if (side, x) not in self.closed]

    @rule(side=st.sampled_from([0, 1]), data=st.data(), count=st.integers(1, 60))
    def write(self, side, data, count):
        free = [x for x in self.lines(side) if (side, x) not in self.paused]
        if free:
            line = data.draw(st.sampled_from(free))
            start = len(self.written[side, line])
            more = bytes((start + i) % 251 for i in range(count))
            self.written[side, line] += more
            self.carry_out(side, self.sides[side].data(line, more))

    @rule(side=st.sampled_from([0, 1]), data=st.data())
    def take(self, side, data):
        if self.lines(side):
            line = data.draw(st.sampled_from(self.lines(side)))
            self.sides[side].taken(line, self.untaken[side, line])
            self.untaken[side, line] = 0

    @rule(side=st.sampled_from([0, 1]), data=st.data())
    def end(self, side, data):
        if self.lines(side):
            line = data.draw(st.sampled_from(self.lines(side)))
            self.sides[side].end(line)
            self.closed.add((side, line))
            self.paused.discard((side, line))

    @precondition(lambda self: self.up)
    @rule(side=st.sampled_from([0, 1]), limit=st.sampled_from([1, 50, 1000]))
    def send(self, side, limit):
        batch = self.sides[side].take(limit) or self.sides[side].ping()
        self.way[side].append(encode_batch(batch))

    @precondition(lambda self: self.up)
    @rule(side=st.sampled_from([0, 1]))
    def receive(self, side):
        if self.way[1 - side]:
            batch = decode_batch(self.way[1 - side].popleft())
            self.carry_out(side, self.sides[side].arrived(batch))

    @rule()
    def breaks(self):
        self.up = False
        self.way[0].clear(), self.way[1].clear()

    @precondition(lambda self: not self.up)
    @rule()
    def mend(self):
        a, b = self.sides
        received = a.received, b.received
        self.carry_out(0, a.connected(received[1]))
        self.carry_out(1, b.connected(received[0]))
        self.up = True

    @invariant()
    def only_what_was_written_comes_and_in_order(self):
        for (side, line), came in self.came.items():
            assert self.written.get((1 - side, line), b"").startswith(came)

    @invariant()
    def what_is_held_is_bounded(self):
        for side in self.sides:
            side.validate()
            data = sum(len(x.data) for x in side._held if type(x) is LineData)
            assert data <= 400 + 60 * len(self.written)

    @rule()
    def all_comes_in_the_end(self):
        """With the comm up and both sides at it, all that was written on open lines comes."""
        if not self.up:
            self.mend()
        for _ in range(3):
            for side in (0, 1):
                self.send(side, 1 << 30)
                while self.way[side]:
                    self.receive(1 - side)
        for (side, line), came in self.came.items():
            if (side, line) not in self.closed and (1 - side, line) not in self.closed:
                assert came == self.written[1 - side, line]


Story.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestStory = Story.TestCase
