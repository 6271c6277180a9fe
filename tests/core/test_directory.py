"""The directory of shared refs: single events, then all of them in random order against a model."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ray_on_dask.core.departed import REMEMBERED, Departed
from ray_on_dask.core.directory import Directory
from ray_on_dask.core.instructions import HandlesGone, Send
from ray_on_dask.wire import messages as m

A, B, C = "a" * 16, "b" * 16, "c" * 16


def an_id(number: int, owner: str = A) -> bytes:
    return bytes.fromhex(owner) + number.to_bytes(12, "little")


X, Y, Z = an_id(1), an_id(2), an_id(3)
PENDING = m.Value(m.PENDING)


def inline(*inner: bytes, data: bytes = b"data") -> m.Value:
    return m.Value(m.INLINE, data, None, list(inner))


def stored(node: str = "n1", *inner: bytes) -> m.Value:
    return m.Value(m.STORED, b"", m.Located(node, "seg", 0, 10), list(inner))


def make_error(kind: str, facts: dict[str, Any]) -> bytes:
    return f"{kind} {facts['owner']}".encode()


def released(*ids: bytes) -> m.Release:
    return m.Release([(id, 1) for id in ids])


def freed(node: str, *ids: bytes, forced: bool = False) -> Send:
    return Send(node, m.FreeObjects(list(ids), forced=forced))


@pytest.fixture
def directory():
    directory = Directory(make_error)
    yield directory
    directory.validate()


def test_a_value_goes_when_its_last_holder_lets_go(directory):
    directory.promote(A, m.Promote(X, stored()))
    directory.hold(m.Hold(X, B))
    assert directory.release(A, released(X)) == []
    assert X in directory
    assert directory.release(B, released(X)) == [freed("n1", X)]
    assert not any(directory.stats().values())


def test_a_release_that_overtakes_its_hold_leaves_a_tombstone(directory):
    """A hands X to B; B's socket is faster than A's."""
    directory.promote(A, m.Promote(X, inline()))
    assert directory.release(B, released(X)) == []
    directory.hold(m.Hold(X, B))
    assert X in directory
    directory.release(A, released(X))
    assert not any(directory.stats().values())


def test_a_hold_that_overtakes_the_promotion_waits_for_it(directory):
    directory.hold(m.Hold(X, B))
    assert directory.stats()["placeholders"] == 1
    directory.promote(A, m.Promote(X, inline()))
    directory.release(A, released(X))
    assert X in directory
    directory.release(B, released(X))
    assert not any(directory.stats().values())


def test_a_subscriber_of_a_pending_ref_is_told_once(directory):
    directory.promote(A, m.Promote(X, PENDING))
    assert directory.subscribe(B, m.Subscribe([X])) == []
    told = [Send(B, m.Resolved(X, inline()))]
    assert directory.resolve(A, m.Resolve(X, inline())) == told
    assert directory.resolve(A, m.Resolve(X, inline())) == []
    assert directory.subscribe(B, m.Subscribe([X])) == told


def test_a_subscription_may_overtake_the_promotion(directory):
    assert directory.subscribe(B, m.Subscribe([X])) == []
    assert directory.promote(A, m.Promote(X, inline())) == [Send(B, m.Resolved(X, inline()))]


def test_what_a_value_contains_lives_as_long_as_the_value(directory):
    directory.promote(A, m.Promote(X, stored("n1", Y, Z)))
    assert directory.stats()["placeholders"] == 2
    directory.promote(A, m.Promote(Y, stored("n1")))
    directory.promote(A, m.Promote(Z, stored("n2")))
    assert directory.release(A, released(Y, Z)) == []
    out = directory.release(A, released(X))
    assert {(s.to, i) for s in out for i in s.message.ids} == {("n1", X), ("n1", Y), ("n2", Z)}
    assert len(out) == 2, "one message to each node"


def test_a_chain_of_fifty_thousand_values_is_deleted_without_recursion(directory):
    last = 50_000
    for i in range(last):
        directory.promote(A, m.Promote(an_id(i), inline(an_id(i + 1))))
        directory.release(A, released(an_id(i + 1)))
        directory.hold(m.Hold(an_id(i + 1), A))
    directory.promote(A, m.Promote(an_id(last), stored()))
    directory.release(A, m.Release([(an_id(i), 1) for i in range(1, last)]))
    directory.release(A, m.Release([(an_id(last), 1)]))
    assert directory.stats()["entries"] == last + 1
    assert directory.release(A, released(an_id(0))) == [freed("n1", an_id(last))]
    assert not any(directory.stats().values())


def test_the_pending_refs_of_a_dead_owner_fail_for_those_who_wait(directory):
    directory.promote(A, m.Promote(X, PENDING, "f"))
    directory.hold(m.Hold(X, B))
    directory.subscribe(B, m.Subscribe([X]))
    error = m.Value(m.ERROR, f"OwnerDiedError {A}".encode())
    assert directory.process_lost(A) == [Send(B, m.Resolved(X, error))]
    assert directory.subscribe(C, m.Subscribe([X])) == [Send(C, m.Resolved(X, error))]
    assert directory.process_lost(A) == []


def test_the_ready_refs_of_a_dead_owner_live_on_with_their_holders(directory):
    directory.promote(A, m.Promote(X, stored()))
    directory.promote(A, m.Promote(Y, stored()))
    directory.hold(m.Hold(X, B))
    assert directory.process_lost(A) == [freed("n1", Y)]
    assert directory.release(B, released(X)) == [freed("n1", X)]


def test_a_ref_that_its_dead_owner_never_promoted_fails(directory):
    """Whether the owner dies after or before somebody waits."""
    error = m.Value(m.ERROR, f"OwnerDiedError {A}".encode())
    directory.subscribe(B, m.Subscribe([X]))
    assert directory.process_lost(A) == [Send(B, m.Resolved(X, error))]
    assert directory.subscribe(B, m.Subscribe([Y])) == [Send(B, m.Resolved(Y, error))]
    assert not any(directory.stats().values())


def test_a_hold_that_names_a_dead_process_does_not_count(directory):
    directory.process_lost(B)
    directory.promote(A, m.Promote(X, stored()))
    directory.hold(m.Hold(X, B))
    directory.release(B, released(X, X))
    directory.subscribe(B, m.Subscribe([X]))
    assert directory.release(A, released(X)) == [freed("n1", X)]


def test_the_tombstones_of_a_dead_process_go_with_it(directory):
    """The hold that its release overtook was lost with the process that meant to send it."""
    directory.release(B, released(X))
    assert directory.stats()["placeholders"] == 1
    directory.process_lost(B)
    assert not any(directory.stats().values())


def test_a_late_promotion_by_a_dead_owner_serves_those_who_hold_the_ref(directory):
    directory.process_lost(A)
    directory.hold(m.Hold(X, B))
    assert directory.promote(A, m.Promote(X, stored())) == []
    assert directory.promote(A, m.Promote(Y, stored())) == [freed("n1", Y)]
    assert directory.release(B, released(X)) == [freed("n1", X)]


def test_a_dead_subscriber_leaves_nothing_behind(directory):
    directory.subscribe(B, m.Subscribe([X]))
    directory.promote(C, m.Promote(an_id(1, C), PENDING))
    directory.subscribe(B, m.Subscribe([an_id(1, C)]))
    assert directory.process_lost(B) == []
    assert directory.stats()["placeholders"] == 0
    assert directory.resolve(C, m.Resolve(an_id(1, C), inline())) == []


def test_a_result_that_nobody_wants_any_more_is_freed_on_arrival(directory):
    directory.promote(A, m.Promote(X, PENDING))
    directory.release(A, released(X))
    assert not any(directory.stats().values())
    assert directory.resolve(A, m.Resolve(X, stored("n1", Y))) == [freed("n1", X)]
    assert not any(directory.stats().values())


def test_a_subscriber_without_a_hold_is_told_when_the_ref_is_deleted(directory):
    """Its hold was announced by a process that was killed before it could send the message."""
    directory.promote(A, m.Promote(X, PENDING))
    directory.subscribe(B, m.Subscribe([X]))
    assert directory.release(A, released(X)) == [Send(B, m.Resolved(X, m.Value(m.FREED)))]


def test_the_owner_is_told_what_a_lost_node_had_and_makes_it_again(directory):
    directory.promote(A, m.Promote(X, stored("n1", Y)))
    was = m.Value(m.FREED, b"", stored("n1").at)
    assert directory.node_lost("n1") == [Send(A, m.Resolved(X, was))]
    assert directory.entries()[0]["state"] == "LOST"
    assert directory.subscribe(B, m.Subscribe([X])) == []
    again = stored("n2", Y)
    assert directory.resolve(A, m.Resolve(X, again)) == [Send(B, m.Resolved(X, again))]
    assert directory.release(A, released(X)) == [freed("n2", X)]


@pytest.mark.parametrize("owner_first", [True, False])
def test_what_a_lost_node_had_of_a_dead_owner_is_lost(directory, owner_first):
    directory.promote(A, m.Promote(X, stored("n1", Y)))
    directory.hold(m.Hold(X, B))
    deaths = [lambda: directory.process_lost(A), lambda: directory.node_lost("n1")]
    for die in deaths if owner_first else reversed(deaths):
        die()
    error = m.Value(m.ERROR, f"ObjectLostError {A}".encode())
    assert directory.subscribe(B, m.Subscribe([X])) == [Send(B, m.Resolved(X, error))]
    assert directory.stats()["placeholders"] == 0, "an error contains nothing"


def test_a_result_that_arrives_after_the_loss_of_its_node_is_lost(directory):
    directory.promote(A, m.Promote(X, PENDING))
    directory.node_lost("n1")
    was = m.Value(m.FREED, b"", stored("n1").at)
    assert directory.resolve(A, m.Resolve(X, stored("n1"))) == [Send(A, m.Resolved(X, was))]
    assert directory.stats()["pending"] == 1


def test_what_has_a_copy_on_another_node_is_not_lost(directory):
    directory.promote(A, m.Promote(X, stored("n1")))
    assert directory.stored_on("n1") == [X]
    assert directory.node_lost("n1", {X: stored("n2").at}) == []
    assert directory.release(A, released(X)) == [freed("n2", X)]


def test_freed_values_are_gone_whoever_holds_them(directory):
    directory.promote(A, m.Promote(Y, stored("n2")))
    directory.promote(A, m.Promote(X, stored("n1", Y)))
    directory.promote(A, m.Promote(Z, PENDING))
    directory.release(A, released(Y))
    out = directory.free(m.FreeRefs([X, Z, an_id(9)]))
    told = Send(A, m.Resolved(X, m.Value(m.FREED)))
    assert out == [told, freed("n1", X, forced=True), freed("n2", Y, forced=True)]
    gone = [Send(B, m.Resolved(X, m.Value(m.FREED)))]
    assert directory.subscribe(B, m.Subscribe([X, Z])) == gone
    assert directory.resolve(A, m.Resolve(Z, inline())) == [Send(B, m.Resolved(Z, inline()))]


def merged(*lines: list[Any]) -> Iterator[list[Any]]:
    """All orders in which what is said on several lines may come in."""
    if not any(lines):
        yield []
    for at, line in enumerate(lines):
        if line:
            for rest in merged(*lines[:at], line[1:], *lines[at + 1 :]):
                yield [line[0], *rest]


@pytest.mark.parametrize("seen", [True, False])
@pytest.mark.parametrize("pending", [False, True])
def test_what_a_borrower_frees_is_freed_whatever_comes_first(pending: bool, seen: bool) -> None:
    value = m.Promote(X, PENDING if pending else stored())
    owner = [(A, value), *([(A, m.Resolve(X, stored()))] if pending else [])]
    borrower = [(B, m.Hold(X, B)), (B, m.FreeRefs([X], seen)), (B, m.Release([(X, 1)]))]
    for order in merged(owner, borrower):
        directory, out = Directory(make_error), []
        for sender, message in order:
            verb = {"FreeRefs": "free"}.get(type(message).__name__, type(message).__name__.lower())
            handle = getattr(directory, verb)
            alone = verb in ("hold", "free")
            out += handle(message) if alone else handle(sender, message)
            directory.validate()
        told = directory.subscribe(C, m.Subscribe([X]))[0].message.value
        if seen or not pending:
            assert told.kind == m.FREED and freed("n1", X, forced=True) in out, order
        out += directory.release(A, released(X))
        directory.validate()
        assert sum(isinstance(x.message, m.FreeObjects) for x in out) == 1, order
        assert not any(directory.stats().values()), order


def test_what_was_to_be_freed_and_never_comes_is_forgotten_with_its_owner(directory):
    directory.hold(m.Hold(X, B))
    directory.free(m.FreeRefs([X], seen=True))
    directory.release(B, released(X))
    assert directory.stats()["placeholders"] == 1
    assert directory.process_lost(A) == []
    assert directory.free(m.FreeRefs([X])) == []
    assert not any(directory.stats().values())


def test_what_is_not_where_it_should_be_is_made_again_by_its_owner(directory):
    """Somebody could not read it; that it lies elsewhere by now is no news."""
    old, new = stored("n1"), stored("n2")
    directory.promote(A, m.Promote(X, old))
    directory.hold(m.Hold(X, B))
    told = Send(A, m.Resolved(X, m.Value(m.FREED, b"", old.at)))
    assert directory.missing(m.Missing(X, old.at)) == [told, freed("n1", X)]
    assert directory.missing(m.Missing(X, old.at)) == []
    assert directory.subscribe(B, m.Subscribe([X])) == []
    assert directory.resolve(A, m.Resolve(X, new)) == [Send(B, m.Resolved(X, new))]
    assert directory.missing(m.Missing(X, old.at)) == []


def test_inline_bytes_are_counted(directory):
    directory.promote(A, m.Promote(X, inline(data=b"12345")))
    directory.promote(A, m.Promote(Y, PENDING))
    directory.resolve(A, m.Resolve(Y, m.Value(m.ERROR, b"123")))
    assert directory.inline_bytes == directory.stats()["inline_bytes"] == 8
    directory.release(A, released(X, Y))
    assert directory.inline_bytes == 0


def test_what_somebody_blocks_on_is_told_to_its_owner(directory):
    c1 = an_id(1, C)
    directory.promote(A, m.Promote(X, PENDING))
    directory.promote(A, m.Promote(Y, inline()))
    directory.promote(C, m.Promote(c1, PENDING))
    out = directory.waiting_for(B, m.WaitingFor([X, Y, c1, an_id(7)]))
    assert out == [Send(A, m.WaitingFor([X])), Send(C, m.WaitingFor([c1]))]
    assert directory.waiting_for(A, m.WaitingFor([X])) == []


def test_what_somebody_blocks_on_is_told_to_an_owner_who_promotes_it_later(directory):
    directory.subscribe(B, m.Subscribe([X]))
    assert directory.waiting_for(B, m.WaitingFor([X])) == []
    assert directory.promote(A, m.Promote(X, PENDING)) == [Send(A, m.WaitingFor([X]))]


def test_an_actor_whose_last_handle_goes_is_named(directory):
    handle = an_id(5)[:16]
    directory.promote(A, m.Promote(handle, inline(data=b"")))
    directory.promote(B, m.Promote(an_id(1, B), inline(handle)))
    assert directory.process_lost(A) == []
    assert directory.release(B, released(an_id(1, B))) == [HandlesGone(handle)]


def test_a_second_run_of_a_task_takes_over_what_the_first_promised(directory):
    """Seeded ids: the retry on B makes the same ids as the run that died with A."""
    directory.promote(A, m.Promote(X, PENDING))
    directory.subscribe(B, m.Subscribe([X]))
    directory.promote(B, m.Promote(X, PENDING))
    assert directory.process_lost(A) == []
    assert directory.resolve(A, m.Resolve(X, stored("n1"))) == [freed("n1", X)]
    assert directory.resolve(B, m.Resolve(X, inline())) == [Send(B, m.Resolved(X, inline()))]


def test_the_listing_says_who_holds_what_and_where(directory):
    directory.promote(A, m.Promote(X, stored("n1", Y), "f"))
    directory.hold(m.Hold(X, B))
    directory.hold(m.Hold(X, B))
    first, second = directory.entries()
    assert first == {
        "object_id": X.hex(), "state": "STORED", "label": "f", "owner": A, "node": "n1",
        "size": 10, "holders": {A: 1, B: 2}, "containers": 0, "waiting": 0,
    }  # fmt: skip
    assert (second["state"], second["containers"]) == ("UNKNOWN", 1)
    assert directory.entries(limit=1) == [first]


def test_the_departed_are_not_remembered_for_ever():
    departed = Departed()
    for i in range(REMEMBERED + 5):
        departed.add(str(i))
    assert len(departed) == REMEMBERED
    assert "4" not in departed and "5" in departed


# -- everything at once -----------------------------------------------------------------


class Peer:
    """A process as the model sees it: what it really holds, and what it has sent."""

    def __init__(self, name: str):
        self.name = name
        self.outbox: deque[Any] = deque()
        self.held: Counter[bytes] = Counter()
        #: Values that the directory has told it.
        self.known: dict[bytes, m.Value] = {}
        self.owns_pending: list[bytes] = []
        #: Id: how many borrowers' holds on their way rely on this process.
        self.lent: Counter[bytes] = Counter()
        self.waits: set[bytes] = set()
        self.alive, self.lapsed = True, False

    def ids(self) -> list[bytes]:
        return sorted(self.held)

    def spare(self, id: bytes) -> int:
        """How many holds it may let go: none while it lends, since they are all alike.

        A release would take back the hold that arrived, on which the borrower builds, and leave
        one that is still on its way.
        """
        return 0 if self.lent[id] else self.held[id]


draws = st.data()


class RandomTraffic(RuleBasedStateMachine):
    """Processes make, hand on, nest, wait for and drop refs; each one's messages keep their order.

    The model knows the truth at the time of *sending*. At every moment all that a live process
    reaches is there; when everything is delivered, nothing else is.
    """

    def __init__(self) -> None:
        super().__init__()
        self.directory = Directory(make_error)
        self.peers = {name: Peer(name) for name in (A, B, C, "d" * 16)}
        self.count = 0
        #: Truth about values, and what the directory has got so far.
        self.values: dict[bytes, m.Value] = {}
        self.owner: dict[bytes, str] = {}
        self.arrived: set[bytes] = set()
        self.stored: set[bytes] = set()
        self.freed: set[bytes] = set()

    # -- what processes do

    def living(self, holding: bool = False) -> list[Peer]:
        return [p for p in self.peers.values() if p.alive and (p.held or not holding)]

    def a_peer(self, data: Any, holding: bool = False) -> Peer | None:
        peers = self.living(holding)
        return data.draw(st.sampled_from(peers)) if peers else None

    def a_value(self, data: Any, peer: Peer, id: bytes) -> m.Value:
        held = [i for i in peer.ids() if i != id]
        inner = data.draw(st.lists(st.sampled_from(held), max_size=2)) if held else []
        return data.draw(st.sampled_from([inline, lambda *i: stored("n1", *i)]))(*inner)

    @initialize()
    def somebody_puts_something(self) -> None:
        self.make(self.peers[A], inline())

    def make(self, peer: Peer, value: m.Value) -> bytes:
        self.count += 1
        id = an_id(self.count, peer.name)
        self.values[id], self.owner[id] = value, peer.name
        peer.held[id] += 1
        peer.outbox.append(m.Promote(id, value))
        return id

    @rule(data=draws)
    def put(self, data: Any) -> None:
        if peer := self.a_peer(data):
            self.make(peer, self.a_value(data, peer, b""))

    @rule(data=draws)
    def submit(self, data: Any) -> None:
        if peer := self.a_peer(data):
            peer.owns_pending.append(self.make(peer, PENDING))

    @rule(data=draws)
    def finish(self, data: Any) -> None:
        peers = [p for p in self.living() if p.owns_pending]
        if peers:
            peer = data.draw(st.sampled_from(peers))
            id = peer.owns_pending.pop(data.draw(st.integers(0, len(peer.owns_pending) - 1)))
            older = [i for i in peer.ids() if self.order(i) < self.order(id)]
            inner = data.draw(st.lists(st.sampled_from(older), max_size=2)) if older else []
            self.values[id] = data.draw(st.sampled_from([inline, lambda *i: stored("n1", *i)]))(
                *inner
            )
            peer.outbox.append(m.Resolve(id, self.values[id]))

    @staticmethod
    def order(id: bytes) -> int:
        return int.from_bytes(id[8:], "little")

    @rule(data=draws)
    def hand_on(self, data: Any) -> None:
        """The giver registers the taker's hold; the ref itself goes another way, and is faster."""
        if giver := self.a_peer(data, holding=True):
            id = data.draw(st.sampled_from(giver.ids()))
            taker = data.draw(st.sampled_from(list(self.peers.values())))
            giver.outbox.append(m.Hold(id, taker.name))
            if taker.alive:
                taker.held[id] += 1

    @rule(data=draws)
    def borrow(self, data: Any) -> None:
        """The taker registers its own hold; the giver keeps all of its own until that arrives."""
        giver, taker = self.a_peer(data, holding=True), self.a_peer(data)
        if giver and taker:
            id = data.draw(st.sampled_from(giver.ids()))
            giver.lent[id] += 1
            taker.held[id] += 1
            taker.outbox.append((m.Hold(id, taker.name), giver))

    @rule(data=draws)
    def take_out(self, data: Any) -> None:
        """A process that holds a container and has its value takes a ref out of it."""
        if peer := self.a_peer(data, holding=True):
            inner = [x for c in peer.ids() if c in peer.known for x in peer.known[c].inner]
            if inner:
                id = data.draw(st.sampled_from(inner))
                peer.held[id] += 1
                peer.outbox.append(m.Hold(id, peer.name))

    @rule(data=draws)
    def let_go(self, data: Any) -> None:
        if peer := self.a_peer(data, holding=True):
            free = [i for i in peer.ids() if peer.spare(i) > 0]
            if free:
                id = data.draw(st.sampled_from(free))
                times = data.draw(st.integers(1, peer.spare(id)))
                peer.held[id] -= times
                peer.held += Counter()
                peer.outbox.append(m.Release([(id, times)]))

    @rule(data=draws)
    def wait_for(self, data: Any) -> None:
        if peer := self.a_peer(data, holding=True):
            id = data.draw(st.sampled_from(peer.ids()))
            peer.waits.add(id)
            peer.outbox.append(m.Subscribe([id]))

    # -- what happens to them

    @rule(data=draws, lose=st.sampled_from([0, 1, 20]))
    def kill(self, data: Any, lose: int) -> None:
        """`kill -9`: the last messages may never have been sent, but for those others built on."""
        if len(self.living()) < 2 or not (peer := self.a_peer(data)):
            return
        peer.alive = False
        while lose and peer.outbox and not self.others_built_on(peer.outbox[-1], peer):
            self.unsend(peer.outbox.pop())
            lose -= 1
        peer.held.clear()
        peer.waits.clear()

    @staticmethod
    def others_built_on(item: Any, peer: Peer) -> bool:
        message = item[0] if isinstance(item, tuple) else item
        return isinstance(message, m.Hold) and message.holder != peer.name

    def unsend(self, item: Any) -> None:
        message, lender = item if isinstance(item, tuple) else (item, None)
        if lender:
            lender.lent[message.id] -= 1
        if isinstance(message, m.Promote):
            del self.values[message.id]
        elif isinstance(message, m.Resolve) and message.id in self.values:
            self.values[message.id] = PENDING

    def deliver_from(self, peer: Peer) -> None:
        item = peer.outbox.popleft()
        message, lender = item if isinstance(item, tuple) else (item, None)
        if lender:
            lender.lent[message.id] -= 1
        verb = type(message).__name__.lower()
        if isinstance(message, m.Promote):
            self.arrived.add(message.id)
        if isinstance(message, m.Promote | m.Resolve) and message.value.kind == m.STORED:
            self.stored.add(message.id)
        handle = getattr(self.directory, verb)
        self.receive(handle(message) if verb == "hold" else handle(peer.name, message))

    @rule(data=draws, times=st.integers(1, 8))
    def deliver(self, data: Any, times: int) -> None:
        for _ in range(times):
            if peers := [p for p in self.peers.values() if p.outbox]:
                self.deliver_from(data.draw(st.sampled_from(peers)))

    def lapsing(self) -> list[Peer]:
        return [
            p for p in self.peers.values()
            if not p.alive and not p.lapsed and not p.outbox and not +p.lent
        ]  # fmt: skip

    @precondition(lambda self: self.lapsing())
    @rule()
    def lapse(self) -> None:
        peer = self.lapsing()[0]
        peer.lapsed = True
        for id, value in self.values.items():
            if value.kind == m.PENDING and self.owner[id] == peer.name:
                self.values[id] = m.Value(m.ERROR)
        self.receive(self.directory.process_lost(peer.name))

    def receive(self, out: list[Any]) -> None:
        for send in out:
            if isinstance(send.message, m.FreeObjects):
                assert not self.freed & set(send.message.ids), "freed twice"
                self.freed.update(send.message.ids)
            elif (peer := self.peers[send.to]).alive:
                peer.known[send.message.id] = send.message.value
                peer.waits.discard(send.message.id)

    # -- what must hold

    def reachable(self) -> set[bytes]:
        found: set[bytes] = set()
        todo = [id for peer in self.living() for id in peer.held]
        while todo:
            id = todo.pop()
            if id not in found:
                found.add(id)
                todo.extend(self.values[id].inner if id in self.values else [])
        return found

    @invariant()
    def nothing_reachable_is_lost(self) -> None:
        reachable = self.reachable()
        for id in reachable & self.arrived:
            assert id in self.directory
        assert not reachable & self.freed
        for peer in self.living():
            for id in peer.held:
                assert id not in peer.known or peer.known[id].kind != m.FREED

    @invariant()
    def the_table_agrees_with_itself(self) -> None:
        self.directory.validate()

    def teardown(self) -> None:
        """Deliver all, let the dead lapse: what is left is what can be reached, and no more."""
        while any(p.outbox for p in self.peers.values()) or self.lapsing():
            for peer in self.peers.values():
                while peer.outbox:
                    self.deliver_from(peer)
            for _ in self.lapsing():
                self.lapse()
        self.nothing_reachable_is_lost()
        self.the_table_agrees_with_itself()
        reachable = self.reachable()
        listed = {bytes.fromhex(e["object_id"]): e for e in self.directory.entries()}
        assert set(listed) <= reachable
        assert self.stored - reachable == self.freed
        for id in reachable & self.arrived:
            assert listed[id]["state"] == self.state(id)
        self.nobody_waits_in_vain()

    def state(self, id: bytes) -> str:
        return {m.INLINE: "INLINE", m.STORED: "STORED", m.ERROR: "ERROR", m.PENDING: "PENDING"}[
            self.values[id].kind
        ]

    def nobody_waits_in_vain(self) -> None:
        for peer in self.living():
            for id in peer.waits & set(peer.held):
                assert self.values[id].kind == m.PENDING and self.peers[self.owner[id]].alive


TestRandomTraffic = RandomTraffic.TestCase
# The same stories at each run; to look for new ones, take `derandomize` away and 2,000 examples.
TestRandomTraffic.settings = settings(
    max_examples=100, stateful_step_count=60, deadline=None, derandomize=True
)
