"""Who counts as dead, and when: nodes for the control store, the control store for a node."""

from __future__ import annotations

from hypothesis import given, strategies as st

from ray_on_dask.core.liveness import SOONER, Contact, Liveness


def ticked(liveness: Liveness, start: float, stop: float) -> list[str]:
    dead, now = [], start
    while now < stop:
        dead += liveness.tick(now)
        now += 0.1
    return dead


def test_a_silent_node_is_dead_once():
    nodes = Liveness(limit=3.0)
    nodes.heard("a", 0.0)
    nodes.heard("b", 0.0)
    assert ticked(nodes, 0.0, 2.9) == []
    nodes.heard("b", 2.9)
    assert ticked(nodes, 3.0, 5.0) == ["a"]
    assert ticked(nodes, 5.0, 5.5) == []
    assert ticked(nodes, 5.5, 7.0) == ["b"]


def test_who_was_stopped_himself_gives_the_others_their_time():
    nodes = Liveness(limit=3.0)
    nodes.heard("a", 0.0)
    assert ticked(nodes, 0.0, 1.0) == []
    assert nodes.tick(100.0) == [], "it was this process that heard nothing"
    assert ticked(nodes, 100.1, 102.9) == []
    assert ticked(nodes, 102.9, 104.0) == ["a"]


def test_a_node_that_has_left_is_not_missed():
    nodes = Liveness(limit=3.0)
    nodes.heard("a", 0.0)
    nodes.gone("a")
    assert ticked(nodes, 0.0, 10.0) == []


def test_a_node_gives_up_when_no_ping_is_answered():
    contact = Contact()
    first = contact.ping(0.0)
    assert not contact.lost(1_000.0), "there was no contact yet"
    contact.answered(first, 3.0)
    assert contact.ping(0.1) == 0, "not due yet"
    assert contact.ping(1.0)
    assert not contact.lost(2.0)
    assert contact.lost(2.5)
    assert not contact.lost(2.6), "it is said once"
    late = contact.ping(3.0)
    contact.answered(late, 3.0)
    assert not contact.lost(4.0)
    assert contact.lost(6.0)


def test_late_answers_count_from_when_their_pings_were_sent():
    contact = Contact(limit=3.0)
    early = contact.ping(10.0)
    contact.ping(11.0)
    contact.answered(early, 3.0)
    assert contact.last == 10.0
    contact.answered(early, 3.0)
    contact.answered(99, 3.0)
    assert contact.last == 10.0


@given(
    st.lists(st.tuples(st.floats(0.01, 1.0), st.booleans(), st.floats(0.0, 2.0)), max_size=60),
    st.floats(1.0, 10.0),
)
def test_a_node_has_ended_its_executors_before_it_is_declared_dead(steps, limit):
    """Whatever becomes of pings and answers, as long as the node itself is not stopped."""
    nodes, contact, now = Liveness(limit), Contact(), 0.0
    nodes.heard("a", now)
    given_up: float | None = None
    arrivals: list[tuple[float, int]] = []
    contact.answered(contact.ping(now), limit)
    for step, arrives, delay in steps:
        now += min(step, limit / 10)
        number = contact.ping(now)
        if number and arrives:
            nodes.heard("a", now)
            arrivals.append((now + delay, number))
        for at, answered in list(arrivals):
            if at <= now:
                arrivals.remove((at, answered))
                contact.answered(answered, limit)
                given_up = None if contact.last + SOONER * limit >= now else given_up
        if contact.lost(now):
            given_up = now
        if nodes.tick(now):
            assert given_up is not None
            return
