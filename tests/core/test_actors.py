"""The life of actors: single events, then all of them in random order against a model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ray_on_dask.core import actors as actors_module
from ray_on_dask.core.actors import OUT_OF_SCOPE, Actors
from ray_on_dask.core.instructions import CancelActorLease, ReleaseLease, Send, WantActor
from ray_on_dask.wire import messages as m

OWNER, OTHER = "a" * 16, "b" * 16
CONFIG = m.JobConfig(namespace="ns")
NOW = 5.0


def an_id(number: int = 1, owner: str = OWNER) -> bytes:
    return bytes.fromhex(owner) + number.to_bytes(8, "little")


ID = an_id()


def a_spec(id: bytes = ID, **options: Any) -> m.ActorSpec:
    none = m.Value(m.INLINE)
    resources = {"CPU": 10_000}
    return m.ActorSpec(id, b"f", b"pickled", "Counter", none, [], resources, {}, **options)


def make_error(kind: str, facts: dict[str, Any]) -> bytes:
    cause = facts.get("cause") or b""
    return f"{kind}: {facts['message']} ".encode() + cause


def states(out: list[Any], to: str = OWNER) -> list[str]:
    return [s.message.state for s in sent(out, m.ActorState) if s.to == to]


def sent(out: list[Any], kind: type) -> list[Send]:
    return [s for s in out if isinstance(s, Send) and isinstance(s.message, kind)]


def the_error(out: list[Any]) -> str:
    return sent(out, m.ActorState)[-1].message.error.decode()


def wanted(out: list[Any]) -> list[int]:
    return [want.incarnation for want in out if isinstance(want, WantActor)]


@pytest.fixture
def actors():
    actors = Actors(make_error, lambda job: CONFIG)
    yield actors
    actors.validate()


def create(actors: Actors, job: int = 1, sender: str = OWNER, **options: Any) -> list[Any]:
    return actors.create(sender, job, m.CreateActor(a_spec(**options)), NOW)


def run(actors: Actors, lease: int = 1, process: str = "p0", incarnation: int = 0) -> list[Any]:
    actors.placed(ID, "n1", lease)
    actors.started(ID, incarnation, process, f"at {process}", 77)
    return actors.ready(process, m.ActorReady(ID, incarnation), NOW)


def facts(actors: Actors) -> dict[str, Any]:
    return actors.actors()[0]


def test_an_actor_is_placed_started_and_made_known(actors):
    out = create(actors, strategy="SPREAD", max_task_retries=4)
    assert states(out) == ["PENDING"]
    assert out[-1] == WantActor(ID, 1, 0, OWNER, {"CPU": 10_000}, {}, "SPREAD", name="Counter")
    [start] = actors.placed(ID, "n1", 9)
    assert start.to == "n1" and start.message.lease == 9 and start.message.config is CONFIG
    assert actors.started(ID, 0, "p0", "at p0", 77) == []
    assert actors.ready("p0", m.ActorReady(ID, 0), NOW) == [
        Send(OWNER, m.ActorState(ID, "ALIVE", 0, "p0", "at p0", "n1", b"", 4))
    ]
    listed = facts(actors)
    assert (listed["state"], listed["class_name"], listed["pid"]) == ("ALIVE", "Counter", 77)
    assert (listed["node"], listed["process"], listed["restarts"]) == ("n1", "p0", 0)


def test_who_watches_is_told_now_and_at_each_change(actors):
    create(actors)
    assert states(actors.watch(OTHER, m.WatchActor(ID)), OTHER) == ["PENDING"]
    assert states(run(actors), OTHER) == ["ALIVE"]
    out = actors.process_lost("p0", "", -9, NOW)
    assert states(out, OTHER) == ["DEAD"]
    assert states(actors.watch(OTHER, m.WatchActor(ID)), OTHER) == ["DEAD"]


def test_a_crash_is_told_with_the_signal_and_the_lease_is_released(actors):
    create(actors)
    run(actors)
    out = actors.process_lost("p0", "", -9, NOW)
    assert out[0] == ReleaseLease(1)
    assert the_error(out).startswith("ActorDiedError: Counter")
    assert "SIGKILL" in the_error(out)


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (3, "its process 77 exited with code 3 (gone)"),
        (-250, "its process 77 was ended by signal 250 (gone)"),
        (0, "its process 77 exited with code 0 (gone)"),
    ],
)
def test_the_end_of_a_process_is_told_in_words(actors, status, text):
    create(actors)
    run(actors)
    assert text in the_error(actors.process_lost("p0", "gone", status, NOW))


def test_an_actor_restarts_as_often_as_it_may(actors):
    create(actors, max_restarts=2)
    for incarnation in range(2):
        run(actors, incarnation, f"p{incarnation}", incarnation)
        out = actors.process_lost(f"p{incarnation}", "", 1, NOW)
        assert states(out) == ["RESTARTING"]
        assert wanted(out) == [incarnation + 1]
        assert ReleaseLease(incarnation) in out
    run(actors, 2, "p2", 2)
    assert states(actors.process_lost("p2", "", 1, NOW)) == ["DEAD"]
    assert facts(actors)["restarts"] == 2


def test_an_actor_with_minus_one_restarts_for_ever(actors):
    create(actors, max_restarts=-1)
    for i in range(50):
        run(actors, i, f"p{i}", i)
        assert states(actors.process_lost(f"p{i}", "", 1, NOW)) == ["RESTARTING"]


def test_a_crash_before_it_is_ready_counts_as_a_death(actors):
    create(actors, max_restarts=1)
    actors.placed(ID, "n1", 1)
    actors.started(ID, 0, "p0", "at p0", 1)
    assert states(actors.process_lost("p0", "", 1, NOW)) == ["RESTARTING"]
    actors.placed(ID, "n1", 2)
    actors.started(ID, 1, "p1", "at p1", 1)
    assert states(actors.process_lost("p1", "", 1, NOW)) == ["DEAD"]


def test_an_exception_in_init_is_final(actors):
    create(actors, max_restarts=5, name="x")
    actors.placed(ID, "n1", 1)
    actors.started(ID, 0, "p0", "at p0", 1)
    out = actors.ready("p0", m.ActorReady(ID, 0, b"boom"), NOW)
    assert states(out) == ["DEAD"] and the_error(out).endswith("boom")
    assert actors.list_named() == []
    assert actors.process_lost("p0", "", 0, NOW) == [ReleaseLease(1)]


def test_words_of_an_old_incarnation_are_dropped(actors):
    create(actors, max_restarts=1)
    run(actors)
    actors.process_lost("p0", "", 1, NOW)
    assert actors.ready("p0", m.ActorReady(ID, 0), NOW) == []
    assert actors.started(ID, 0, "p0", "at p0", 1) == []
    actors.placed(ID, "n1", 2)
    actors.started(ID, 1, "p1", "at p1", 1)
    assert actors.ready("p1", m.ActorReady(ID, 0), NOW) == []
    assert actors.ready("p0", m.ActorReady(ID, 1), NOW) == []
    assert actors.exiting("p0", m.ActorExiting(ID, 0), NOW) == []
    assert actors.started(ID, 1, "p9", "at p9", 1) == []
    assert facts(actors)["state"] == "RESTARTING" and facts(actors)["process"] == "p1"


def test_a_killed_actor_is_dead_at_once_and_holds_its_lease_until_its_process_ends(actors):
    create(actors, max_restarts=5)
    run(actors)
    out = actors.kill(OTHER, m.KillActor(ID), NOW)
    assert states(out) == ["DEAD"] and "ray.kill" in the_error(out)
    assert [(s.to, s.message.actor) for s in sent(out, m.KillActor)] == [("n1", ID)]
    assert actors.kill(OTHER, m.KillActor(ID), NOW) == []
    assert actors.process_lost("p0", "", -9, NOW) == [ReleaseLease(1)]


def test_an_actor_killed_before_it_is_placed_cancels_its_request(actors):
    create(actors)
    assert CancelActorLease(ID) in actors.kill(OTHER, m.KillActor(ID), NOW)
    assert actors.placed(ID, "n1", 1) == [ReleaseLease(1)]


def test_an_actor_killed_while_it_is_started_is_killed_again_when_its_process_is_known(actors):
    """The node may have had nothing to kill yet."""
    create(actors)
    actors.placed(ID, "n1", 1)
    assert sent(actors.kill(OTHER, m.KillActor(ID), NOW), m.KillActor)
    [kill] = actors.started(ID, 0, "p0", "at p0", 1)
    assert kill.to == "n1" and kill.message.actor == ID
    assert actors.ready("p0", m.ActorReady(ID, 0), NOW) == []
    assert actors.process_lost("p0", "", -9, NOW) == [ReleaseLease(1)]


def test_a_kill_that_allows_a_restart_restarts(actors):
    create(actors, max_restarts=1)
    kill = m.KillActor(ID, no_restart=False)
    assert actors.kill(OTHER, kill, NOW) == []
    run(actors)
    [stop] = actors.kill(OTHER, kill, NOW)
    assert stop.to == "n1" and not stop.message.no_restart
    assert states(actors.process_lost("p0", "", -9, NOW)) == ["RESTARTING"]
    actors.placed(ID, "n1", 2)
    actors.kill(OTHER, kill, NOW)
    assert sent(actors.started(ID, 1, "p1", "at p1", 1), m.KillActor)
    assert "ray.kill" in the_error(actors.process_lost("p1", "", -9, NOW))


def test_a_kill_and_a_watch_may_overtake_the_creation(actors):
    """They come on another socket than `CreateActor`."""
    assert states(actors.watch(OTHER, m.WatchActor(ID)), OTHER) == ["PENDING"]
    assert actors.kill(OTHER, m.KillActor(ID), NOW) == []
    out = create(actors)
    assert states(out, OTHER) == ["DEAD"] and not wanted(out)


def test_who_watches_an_actor_that_its_dead_creator_never_made_is_told(actors):
    actors.watch(OTHER, m.WatchActor(ID))
    assert states(actors.process_lost(OWNER, "", 0, NOW), OTHER) == ["DEAD"]
    assert states(actors.watch(OTHER, m.WatchActor(an_id(2))), OTHER) == ["DEAD"]


def test_a_dead_watcher_is_forgotten(actors):
    create(actors)
    actors.watch(OTHER, m.WatchActor(ID))
    actors.watch(OTHER, m.WatchActor(an_id(2)))
    actors.process_lost(OTHER, "", 0, NOW)
    assert actors.watch(OTHER, m.WatchActor(ID)) == []
    assert states(run(actors), OTHER) == []


def test_a_name_is_taken_until_its_actor_is_dead(actors):
    create(actors, name="x", namespace="ns")
    assert actors.get_actor("x", "ns")["actor"] == ID
    second = m.CreateActor(a_spec(an_id(2), name="x", namespace="ns"))
    out = actors.create(OTHER, 1, second, NOW)
    assert states(out, OTHER) == ["DEAD"] and not wanted(out)
    assert the_error(out).startswith("ActorAlreadyExistsError: The name 'x'")
    elsewhere = m.CreateActor(a_spec(an_id(3), name="x", namespace="other"))
    assert wanted(actors.create(OTHER, 1, elsewhere, NOW)) == [0]
    assert len(actors.list_named()) == 2
    assert actors.list_named("ns") == [{"name": "x", "namespace": "ns"}]
    actors.kill(OWNER, m.KillActor(ID), NOW)
    with pytest.raises(ValueError, match="no actor named 'x'"):
        actors.get_actor("x", "ns")
    again = m.CreateActor(a_spec(an_id(4), name="x", namespace="ns"))
    assert wanted(actors.create(OTHER, 1, again, NOW)) == [0]


def test_a_reserved_name_is_for_one_actor_and_lapses_with_its_process(actors):
    assert actors.reserve_name(OWNER, "x", "", ID) == {"actor": ID}
    with pytest.raises(ValueError, match="taken"):
        actors.reserve_name(OTHER, "x", "", an_id(2))
    with pytest.raises(ValueError, match="no actor"):
        actors.get_actor("x")
    assert actors.list_named() == []
    actors.reserve_name(OWNER, "y", "", an_id(3))
    assert wanted(create(actors, name="x")) == [0]
    actors.process_lost(OWNER, "", 0, NOW)
    assert actors.list_named() == [{"name": "x", "namespace": ""}]
    assert actors.reserve_name(OTHER, "y", "", an_id(4)) == {"actor": an_id(4)}


def test_an_actor_without_handles_ends_when_its_calls_are_done(actors):
    create(actors, max_restarts=5, name="x")
    run(actors)
    assert actors.handles_gone(ID) == [Send("p0", m.Exit(False, OUT_OF_SCOPE))]
    assert actors.handles_gone(ID) == [] and actors.list_named() == []
    out = actors.process_lost("p0", "", 0, NOW)
    assert states(out) == ["DEAD"] and "out of scope" in the_error(out)


def test_an_actor_without_handles_that_is_not_started_yet_is_told_when_it_is(actors):
    create(actors)
    actors.placed(ID, "n1", 1)
    assert actors.handles_gone(ID) == []
    assert actors.started(ID, 0, "p0", "at p0", 1) == [Send("p0", m.Exit(False, OUT_OF_SCOPE))]
    assert states(actors.ready("p0", m.ActorReady(ID, 0), NOW)) == ["ALIVE"]


def test_an_actor_without_handles_that_is_not_placed_never_is(actors):
    create(actors)
    assert CancelActorLease(ID) in actors.handles_gone(ID)
    assert facts(actors)["state"] == "DEAD"


def test_detached_actors_outlive_their_handles_and_their_job(actors):
    create(actors, detached=True)
    actors.create(OWNER, 1, m.CreateActor(a_spec(an_id(2))), NOW)
    run(actors)
    assert actors.handles_gone(ID) == []
    out = actors.job_ended(1, NOW)
    assert [x for x in out if isinstance(x, CancelActorLease)] == [CancelActorLease(an_id(2))]
    assert [a["state"] for a in actors.actors()] == ["ALIVE", "DEAD"]


def test_an_actor_ends_with_its_job(actors):
    create(actors, max_restarts=-1)
    run(actors)
    out = actors.job_ended(1, NOW)
    assert [(s.to, s.message.force) for s in sent(out, m.Exit)] == [("p0", True)]
    assert "job has ended" in the_error(out)
    late = actors.create(OWNER, 1, m.CreateActor(a_spec(an_id(2))), NOW)
    assert states(late) == ["DEAD"] and not wanted(late)
    assert actors.process_lost("p0", "", 0, NOW) == [ReleaseLease(1)]


def test_an_actor_that_exits_is_dead_at_once_and_for_good(actors):
    create(actors, max_restarts=-1)
    run(actors)
    out = actors.exiting("p0", m.ActorExiting(ID, 0), NOW)
    assert states(out) == ["DEAD"] and "exit_actor" in the_error(out)
    assert actors.process_lost("p0", "", 0, NOW) == [ReleaseLease(1)]


@pytest.mark.parametrize("known", [True, False])
def test_an_actor_whose_node_is_lost_restarts_elsewhere(actors, known):
    """Whether or not the node has named its executor yet."""
    create(actors, max_restarts=1)
    actors.placed(ID, "n1", 1)
    if known:
        actors.started(ID, 0, "p0", "at p0", 1)
    assert actors.node_lost("n2", NOW) == []
    out = actors.node_lost("n1", NOW, "no ping")
    assert states(out) == ["RESTARTING"] and ReleaseLease(1) in out
    assert actors.process_lost("p0", "", 0, NOW) == []
    actors.placed(ID, "n2", 2)
    assert "node died (no ping)" in the_error(actors.node_lost("n2", NOW, "no ping"))


def test_an_actor_that_cannot_be_started_is_dead_with_the_given_error(actors):
    create(actors, max_restarts=-1)
    out = actors.unplaceable(ID, b"why", NOW)
    assert out[0] == CancelActorLease(ID) and the_error(out) == "why"
    second = an_id(2)
    actors.create(OWNER, 1, m.CreateActor(a_spec(second)), NOW)
    actors.placed(second, "n1", 2)
    out = actors.unplaceable(second, b"no conda", NOW)
    assert out[0] == ReleaseLease(2) and the_error(out) == "no conda"


def test_a_killed_actor_that_its_node_cannot_start_gives_its_lease_back(actors):
    create(actors)
    actors.placed(ID, "n1", 1)
    actors.kill(OWNER, m.KillActor(ID), NOW)
    assert actors.unplaceable(ID, b"late", NOW) == [ReleaseLease(1)]


def test_the_dead_are_forgotten_in_the_end_but_still_dead(actors, monkeypatch):
    monkeypatch.setattr(actors_module, "DEAD_KEPT", 2)
    for i in range(4):
        actors.create(OWNER, 1, m.CreateActor(a_spec(an_id(i))), NOW)
        actors.kill(OWNER, m.KillActor(an_id(i)), NOW)
    assert [a["actor_id"] for a in actors.actors()] == [an_id(2).hex(), an_id(3).hex()]
    assert states(actors.watch(OTHER, m.WatchActor(an_id(0))), OTHER) == ["DEAD"]


# -- everything at once -----------------------------------------------------------------


@dataclass
class Life:
    """What the model expects of one actor."""

    id: bytes
    job: int
    name: str
    detached: bool
    restarts_left: int
    state: str = "PENDING"
    incarnation: int = 0
    ending: bool = False
    #: It ends by itself, having failed or left.
    leaves: bool = False
    #: "wanted", "placed", "running" or "" (nowhere).
    at: str = "wanted"
    node: str = ""
    lease: int = 0
    process: str = ""
    watchers: list[str] = field(default_factory=list)


NODES = ["n1", "n2", "n3"]
draws = st.data()


class RandomLives(RuleBasedStateMachine):
    """Actors are made, placed, started, killed, crashed, dropped in any order.

    The model is told what happens and predicts states, names, leases and what watchers know; it
    plays the node's part too, so processes die when they are told to and not sooner.
    """

    def __init__(self) -> None:
        super().__init__()
        self.actors = Actors(make_error, lambda job: CONFIG)
        self.lives: dict[bytes, Life] = {}
        self.names: dict[str, bytes] = {}
        self.count = 0
        self.leases: set[int] = set()
        self.asked: dict[bytes, int] = {}
        self.told_to_end: set[bytes] = set()
        self.seen: dict[tuple[str, bytes], str] = {}
        self.jobs = {1, 2}

    def take(self, out: list[Any]) -> None:
        """Carry out instructions as the plugin and the nodes would."""
        for what in out:
            if isinstance(what, WantActor):
                assert what.actor not in self.asked, "asked twice"
                self.asked[what.actor] = what.incarnation
            elif isinstance(what, CancelActorLease):
                del self.asked[what.actor]
            elif isinstance(what, ReleaseLease):
                self.leases.remove(what.lease)
            elif isinstance(what.message, m.ActorState):
                self.seen[what.to, what.message.actor] = what.message.state
            elif isinstance(what.message, m.KillActor):
                # A node that has found no executor yet has nothing to kill.
                if self.lives[what.message.actor].process:
                    self.told_to_end.add(what.message.actor)
            elif isinstance(what.message, m.Exit):
                self.told_to_end.add(self.process(what.to).id)
        self.actors.validate()

    def process(self, name: str) -> Life:
        return next(life for life in self.lives.values() if life.process == name)

    def pick(self, data: Any, *at: str) -> Life | None:
        """One that is in such a place; a living one four times out of five, if there is any."""
        found = [life for life in self.lives.values() if not at or life.at in at]
        living = [life for life in found if life.state != "DEAD"]
        if living and data.draw(st.integers(0, 4)):
            found = living
        return data.draw(st.sampled_from(found)) if found else None

    def dies(self, life: Life) -> None:
        life.state = "DEAD"
        if life.at == "wanted":
            life.at = ""
        if self.names.get(life.name) == life.id:
            del self.names[life.name]

    def process_ends(self, life: Life) -> None:
        life.at = life.node = life.process = ""
        self.told_to_end.discard(life.id)
        if life.state == "DEAD":
            return
        if life.ending or not life.restarts_left:
            self.dies(life)
            return
        life.restarts_left -= 1
        life.incarnation += 1
        life.state, life.at = "RESTARTING", "wanted"

    @rule(
        name=st.sampled_from(["", "", "x", "y"]), restarts=st.sampled_from([0, 1, 2, -1]),
        detached=st.booleans(), job=st.sampled_from([1, 2]),
    )  # fmt: skip
    def create(self, name: str, restarts: int, detached: bool, job: int) -> None:
        self.count += 1
        life = Life(an_id(self.count), job, name, detached, restarts)
        life.watchers.append(OWNER)
        self.lives[life.id] = life
        if name in self.names or (job not in self.jobs and not detached):
            self.dies(life)
        elif name:
            self.names[name] = life.id
        spec = a_spec(life.id, name=name, max_restarts=restarts, detached=detached)
        self.take(self.actors.create(OWNER, job, m.CreateActor(spec), NOW))

    @rule(data=draws, node=st.sampled_from(NODES))
    def place(self, data: Any, node: str) -> None:
        if life := self.pick(data, "wanted"):
            self.count += 1
            life.at, life.node, life.lease = "placed", node, self.count
            assert self.asked.pop(life.id) == life.incarnation
            self.leases.add(life.lease)
            self.take(self.actors.placed(life.id, node, life.lease))

    @rule(data=draws)
    def place_what_is_not_wanted(self, data: Any) -> None:
        if life := self.pick(data, "", "placed", "running"):
            self.count += 1
            self.leases.add(self.count)
            self.take(self.actors.placed(life.id, "n1", self.count))
            assert self.count not in self.leases

    @rule(data=draws)
    def start(self, data: Any) -> None:
        if life := self.pick(data, "placed"):
            self.count += 1
            life.at, life.process = "running", f"p{self.count}"
            self.take(
                self.actors.started(life.id, life.incarnation, life.process, "address", self.count)
            )

    @rule(data=draws, node=st.sampled_from(NODES))
    def launch(self, data: Any, node: str) -> None:
        self.place(data, node)
        self.start(data)
        self.ready(data, b"", False)

    @rule(data=draws, at=st.sampled_from(["placed", "wanted"]), really=st.integers(0, 2))
    def fail_to_start(self, data: Any, at: str, really: int) -> None:
        if not really and (life := self.pick(data, at)):
            self.dies(life)
            life.at = life.node = ""
            self.told_to_end.discard(life.id)
            self.take(self.actors.unplaceable(life.id, b"cannot", NOW))

    @rule(data=draws, error=st.sampled_from([b"", b"", b"boom"]), stale=st.booleans())
    def ready(self, data: Any, error: bytes, stale: bool) -> None:
        if life := self.pick(data, "running"):
            if life.state in ("PENDING", "RESTARTING") and not stale:
                life.leaves = bool(error)
                self.dies(life) if error else setattr(life, "state", "ALIVE")
            message = m.ActorReady(life.id, life.incarnation - stale, error)
            self.take(self.actors.ready(life.process, message, NOW))

    @rule(data=draws, status=st.sampled_from([0, 1, -9, -11]))
    def process_dies(self, data: Any, status: int) -> None:
        if life := self.pick(data, "running"):
            process = life.process
            self.process_ends(life)
            self.take(self.actors.process_lost(process, "", status, NOW))
            assert life.lease not in self.leases

    @rule(name=st.sampled_from(NODES))
    def node_dies(self, name: str) -> None:
        for life in [x for x in self.lives.values() if x.node == name]:
            self.process_ends(life)
        self.take(self.actors.node_lost(name, NOW))

    @rule(data=draws, no_restart=st.booleans())
    def kill(self, data: Any, no_restart: bool) -> None:
        if life := self.pick(data):
            was = life.state
            if no_restart and was != "DEAD":
                self.dies(life)
            self.take(self.actors.kill(OTHER, m.KillActor(life.id, no_restart), NOW))
            assert was == "DEAD" or not life.process or life.id in self.told_to_end

    @rule(data=draws)
    def leave(self, data: Any) -> None:
        if life := self.pick(data, "running"):
            if life.state != "DEAD":
                life.leaves = True
                self.dies(life)
            message = m.ActorExiting(life.id, life.incarnation)
            self.take(self.actors.exiting(life.process, message, NOW))

    @rule(data=draws)
    def drop_handles(self, data: Any) -> None:
        if life := self.pick(data, "placed", "running") or self.pick(data):
            if life.state != "DEAD" and not life.detached:
                life.ending = True
                if self.names.get(life.name) == life.id:
                    del self.names[life.name]
                if life.at == "wanted":
                    self.dies(life)
            self.take(self.actors.handles_gone(life.id))

    @rule(data=draws)
    def watch(self, data: Any) -> None:
        if life := self.pick(data):
            life.watchers.append(OTHER)
            self.take(self.actors.watch(OTHER, m.WatchActor(life.id)))

    @rule(job=st.sampled_from([1, 2]))
    def end_job(self, job: int) -> None:
        if self.count < 30:
            return
        self.jobs.discard(job)
        for life in self.lives.values():
            if life.job == job and not life.detached and life.state != "DEAD":
                self.dies(life)
        self.take(self.actors.job_ended(job, NOW))

    @invariant()
    def states_are_as_expected_and_every_watcher_knows(self) -> None:
        listed = {bytes.fromhex(a["actor_id"]): a for a in self.actors.actors()}
        for id, life in self.lives.items():
            assert listed[id]["state"] == life.state
            assert listed[id]["restarts"] == life.incarnation
            assert listed[id]["process"] == life.process
            for watcher in life.watchers:
                assert self.seen[watcher, id] == life.state

    @invariant()
    def leases_are_held_exactly_by_those_who_are_somewhere(self) -> None:
        seated = {x.lease for x in self.lives.values() if x.at in ("placed", "running")}
        assert self.leases == seated
        assert set(self.asked) == {x.id for x in self.lives.values() if x.at == "wanted"}

    @invariant()
    def names_are_as_expected(self) -> None:
        assert {x["name"] for x in self.actors.list_named()} == set(self.names)
        for name, id in self.names.items():
            assert self.actors.get_actor(name)["actor"] == id

    @invariant()
    def the_dead_are_told_to_end_unless_they_said_so_themselves(self) -> None:
        for life in self.lives.values():
            if life.process and not life.leaves and (life.ending or life.state == "DEAD"):
                assert life.id in self.told_to_end


TestRandomLives = RandomLives.TestCase
TestRandomLives.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
