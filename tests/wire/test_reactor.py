"""Who waits, leads: threads that wait, time, garbage, Ctrl-C. No sleeps: events and sockets."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from time import monotonic

import pytest

from ray_on_dask.wire import messages as m
from ray_on_dask.wire.frames import pack
from ray_on_dask.wire.reactor import Reactor, Waiter

LIMIT = 5.0


def until(condition):
    """Spin until another thread is where the test wants it; it has to get there soon."""
    end = monotonic() + LIMIT
    while not condition():
        assert monotonic() < end, "the other thread did not get there"
        os.sched_yield()


def waiting(party, waiter, results, timeout=4 * LIMIT):
    results.append((waiter, party.reactor.wait(waiter, timeout)))


@pytest.fixture
def three(party, run):
    """Three threads that wait: the first leads, the others follow in order."""
    waiters, results, (_, other) = [Waiter() for _ in range(3)], [], party.connect()

    def handler(channel, messages):
        for message in messages:
            waiters[message.token].one_done()

    party.handler = handler
    run(waiting, party, waiters[0], results)
    until(party.reactor._lead.locked)
    for number in (1, 2):
        run(waiting, party, waiters[number], results)
        until(lambda number=number: len(party.reactor._followers) == number)
    return waiters, results, other


# -- waiting -----------------------------------------------------------------------


def test_a_thread_that_waits_reads_the_sockets_itself(party):
    """No other thread is there: the reactor was not started."""
    waiter, (_, other) = Waiter(2), party.connect()
    party.handler = lambda channel, messages: [waiter.one_done() for _ in messages]
    other.sendall(pack(m.Sync(1)) + pack(m.Sync(2)))
    assert party.reactor.wait(waiter, LIMIT)
    assert party.messages == [m.Sync(1), m.Sync(2)]


def test_a_waiter_for_nothing_is_done(party):
    assert Waiter(0).done
    assert party.reactor.wait(Waiter(0))


def test_time_runs_out(party):
    start = monotonic()
    assert not party.reactor.wait(Waiter(), 0.02)
    assert 0.015 < monotonic() - start < LIMIT


def test_no_time_at_all_is_still_a_look_at_the_sockets(party):
    waiter, (_, other) = Waiter(), party.connect()
    party.handler = lambda channel, messages: waiter.finish()
    other.sendall(pack(m.Sync(1)))
    assert party.reactor.wait(waiter, 0)


def test_each_thread_wakes_when_its_own_waiter_is_done(three):
    waiters, results, other = three
    for number in (2, 1, 0):
        other.sendall(pack(m.Sync(number)))
        until(lambda number=number: len(results) == 3 - number)
    assert results == [(waiters[number], True) for number in (2, 1, 0)]


def test_a_leader_that_stops_hands_the_lead_to_a_follower(three):
    waiters, results, other = three
    for number in (0, 1, 2):
        other.sendall(pack(m.Sync(number)))
        until(lambda number=number: len(results) == number + 1)
    assert [waiter for waiter, _ in results] == waiters


def test_the_lead_is_not_handed_to_one_who_is_done_and_lost_there(three):
    """One message ends the wait of the leader and of the first follower; the second still waits.

    The leader hands the lead to the first follower, which does not want it any more.
    """
    _waiters, results, other = three
    other.sendall(pack(m.Sync(0)) + pack(m.Sync(1)))
    until(lambda: len(results) == 2)
    other.sendall(pack(m.Sync(2)))
    until(lambda: len(results) == 3)
    assert all(in_time for _, in_time in results)


def test_a_follower_whose_time_runs_out_leaves_the_others_be(party, run):
    waiters, results, (_, other) = [Waiter(), Waiter()], [], party.connect()
    party.handler = lambda channel, messages: waiters[0].finish()
    run(waiting, party, waiters[0], results)
    until(party.reactor._lead.locked)
    assert not party.reactor.wait(waiters[1], 0.02)
    other.sendall(pack(m.Sync(0)))
    until(lambda: results == [(waiters[0], True)])
    assert not party.reactor._followers


def test_another_thread_may_end_a_wait(three, party):
    waiters, results, _ = three
    waiters[1].finish()
    until(lambda: results == [(waiters[1], True)])
    waiters[0].finish()
    party.reactor.wake()
    until(lambda: len(results) == 2)
    waiters[2].finish()
    party.reactor.wake()


def test_closing_wakes_all_who_wait(three, party):
    _waiters, results, _ = three
    party.reactor.close()
    until(lambda: len(results) == 3)
    assert not any(in_time for _, in_time in results)


def test_nobody_sleeps_while_closing_has_the_lead(party, run):
    """`close` takes the lead to close the descriptors, and hands it to nobody afterwards.

    A follower that it nudged looks around just then, finds the lead taken, and must not follow.
    """
    reactor, results = party.reactor, []

    class LateComer:
        def close(self):
            assert reactor._lead.locked()
            run(waiting, party, Waiter(), results)
            until(lambda: results)

    epoll, reactor._epoll = reactor._epoll, LateComer()
    reactor.close()
    epoll.close()
    assert not results[0][1]


def test_one_who_follows_after_closing_has_nudged_all_does_not_sleep(party):
    """It found the lead taken while the reactor was open; `close` came before it was listed."""
    reactor = party.reactor

    class Closing(deque):
        def append(self, waiter):
            reactor.closed = True
            super().append(waiter)

    reactor._followers = Closing()
    start = monotonic()
    with reactor._lead:
        assert not reactor.wait(Waiter(), LIMIT)
    assert monotonic() - start < LIMIT / 2
    reactor.close()


def test_what_is_closed_is_not_polled(party):
    party.reactor.close()
    party.reactor.poll_now()
    assert not party.reactor.wait(Waiter(), 0)


def test_when_nobody_waits_the_thread_of_the_reactor_reads(party):
    heard = threading.Event()
    _, other = party.connect()
    party.handler = lambda channel, messages: heard.set()
    party.reactor.start()
    other.sendall(pack(m.Sync(1)))
    assert heard.wait(LIMIT)


def test_the_thread_of_the_reactor_and_one_that_waits_take_turns(party):
    party.reactor.start()
    _, other = party.connect()
    for number in range(50):
        waiter = Waiter()
        party.handler = lambda channel, messages, waiter=waiter: waiter.finish()
        other.sendall(pack(m.Sync(number)))
        assert party.reactor.wait(waiter, LIMIT)
    assert party.messages == [m.Sync(number) for number in range(50)]


def test_the_reactor_reads_on_after_many_waits_that_it_slept_through(party):
    """It sleeps while others lead; the last of them pokes it when it stops."""
    party.reactor.start()
    _, other = party.connect()
    waiter = Waiter()
    threading.Timer(0.1, lambda: (waiter.finish(), party.reactor.wake())).start()
    assert party.reactor.wait(waiter, LIMIT)
    heard, start = threading.Event(), monotonic()
    party.handler = lambda channel, messages: heard.set()
    other.sendall(pack(m.Sync(1)))
    assert heard.wait(LIMIT)
    assert monotonic() - start < 0.5


# -- what the leader does besides ------------------------------------------------------


def test_a_leader_that_sleeps_without_limit_is_woken_when_a_tick_is_due(party, run):
    """A thread has computed while another led: what it has left for the tick is not forgotten."""
    party.seconds, results, leads = -1.0, [], Waiter()
    run(waiting, party, leads, results, None)
    until(lambda: party.reactor._unlimited)
    party.seconds = 0.001
    assert not party.reactor.wait(Waiter(), 0.05)
    until(lambda: party.ticks)
    party.reactor.call_soon(leads.finish)


def test_the_leader_ticks_while_it_waits(party):
    party.seconds = 0.005
    party.poll(0.05)
    assert 3 <= len(party.ticks) <= 11
    assert party.ticks == sorted(party.ticks)


def test_calls_of_other_threads_are_made_by_the_leader(party, run):
    waiter, made = Waiter(), []

    def call():
        made.append(threading.get_ident())
        waiter.finish()

    run(party.reactor.call_soon, call)
    assert party.reactor.wait(waiter, LIMIT)
    assert made == [threading.get_ident()]


@pytest.mark.parametrize("garbage", [b"\xff\xff\xff\xff", b"\x05\x00\x00\x00hello"])
def test_garbage_closes_its_own_line_and_nothing_else(party, garbage):
    (bad, bad_end), (good, good_end) = party.connect(), party.connect()
    bad_end.sendall(garbage)
    good_end.sendall(pack(m.Sync(1)))
    party.poll(0.02)
    assert party.messages == [m.Sync(1)]
    assert party.closed == [bad] and party.reactor.channels() == [good]
    assert bad_end.recv(1) == b""


def test_a_line_may_be_closed_while_its_messages_are_handled(party):
    _channel, other = party.connect()
    party.handler = lambda channel, messages: channel.close()
    other.sendall(pack(m.Sync(1)) * 2)
    party.poll(), party.poll()
    assert party.messages == [m.Sync(1)] * 2 and party.closed == []


def test_closing_leaves_no_descriptor():
    def one():
        reactor = Reactor(lambda now: None, lambda: -1.0)
        reactor.start()
        reactor.close()

    one()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        one()
    assert len(os.listdir("/proc/self/fd")) == before


# -- Ctrl-C ----------------------------------------------------------------------------


@pytest.fixture
def guard(party):
    """Ctrl-C as `init` has it: marked while the leader handles messages, raised otherwise."""
    reactor = party.reactor

    def handle(number, frame):
        if reactor.handling and reactor.leader == threading.get_ident():
            reactor.interrupted = True
        else:
            signal.default_int_handler(number, frame)

    was = signal.signal(signal.SIGINT, handle)
    yield
    signal.signal(signal.SIGINT, was)


def test_ctrl_c_while_messages_are_handled_is_raised_when_they_are(party, guard):
    """Half-handled messages would leave the state of tasks and refs inconsistent."""
    _, other = party.connect()
    handled = []

    def handler(channel, messages):
        signal.raise_signal(signal.SIGINT)
        handled.append(True)

    party.handler = handler
    other.sendall(pack(m.Sync(1)))
    with pytest.raises(KeyboardInterrupt):
        party.poll(LIMIT)
    assert handled == [True]
    assert not party.reactor.handling and not party.reactor.interrupted


def test_ctrl_c_in_a_tick_is_raised_after_it(party, guard):
    done = []

    def tick(now):
        signal.raise_signal(signal.SIGINT)
        done.append(now)

    party.reactor.on_tick, party.seconds = tick, 0.001
    with pytest.raises(KeyboardInterrupt):
        party.poll(LIMIT)
    assert len(done) == 1


def test_ctrl_c_while_nothing_comes_ends_the_wait_and_frees_the_lead(party, guard):
    main = threading.main_thread().ident
    threading.Timer(0.02, signal.pthread_kill, (main, signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        party.poll(LIMIT)
    assert not party.reactor._lead.locked()
    assert not party.reactor.wait(Waiter(), 0)


def test_ctrl_c_in_one_who_follows_does_not_stop_the_others(party, guard, run):
    main = threading.main_thread().ident
    waiter, results, (_, other) = Waiter(), [], party.connect()
    party.handler = lambda channel, messages: waiter.finish()
    run(waiting, party, waiter, results)
    until(party.reactor._lead.locked)
    threading.Timer(0.02, signal.pthread_kill, (main, signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        party.poll(LIMIT)
    assert not party.reactor._followers
    other.sendall(pack(m.Sync(1)))
    until(lambda: results == [(waiter, True)])


# -- errors ---------------------------------------------------------------------------


def test_an_error_of_a_handler_is_logged_and_not_the_leaders(party, caplog):
    waiter, (channel, other), (ended, ending) = Waiter(2), party.connect(), party.connect()

    def fail(*_):
        waiter.one_done()
        raise ValueError("a mistake of ours")

    party.handler = ended.on_close = fail
    ending.close()
    other.sendall(pack(m.Sync(1)))

    assert party.reactor.wait(waiter, LIMIT)
    assert len(caplog.records) == 2 and not channel.closed
