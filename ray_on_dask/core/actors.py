"""The life of actors: where each is, when it starts again, and what those who call it are told.

An actor is PENDING until its `__init__` is done, ALIVE, RESTARTING between the end of a process
and the next `__init__`, and DEAD for good. It holds at most one lease: the next incarnation is
asked for only when the last process is known to be gone, so that nothing runs twice side by
side. A killed actor is DEAD to its callers at once, and its name is free; its lease is released
when its process has ended.

A process that has an actor's handle may ask about the actor or kill it before the creator's
`CreateActor` is here, since they come on different sockets: both are remembered until then. The
creator itself sends `CreateActor` before it promotes the handle.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from ray_on_dask.core.actor_names import ActorNames, taken
from ray_on_dask.core.actor_record import (
    ALIVE,
    DEAD,
    PENDING,
    RESTARTING,
    Actor,
    Seat,
    how_it_ended,
)
from ray_on_dask.core.actor_watchers import ActorWatchers
from ray_on_dask.core.departed import Departed, promised_owner
from ray_on_dask.core.instructions import CancelActorLease, Instruction, ReleaseLease, Send
from ray_on_dask.wire.messages import (
    ActorExiting,
    ActorReady,
    ActorState,
    CreateActor,
    Exit,
    JobConfig,
    KillActor,
    SaveCheckpoint,
    WatchActor,
)

#: Dead actors that are kept for listings.
DEAD_KEPT = 10_000

OUT_OF_SCOPE = "it went out of scope: no process had a handle of it any more"
KILLED = "it was killed by `ray.kill`"


class Actors:
    """The state machine: each method takes one event and gives back what is to be done.

    Parameters
    ----------
    make_error : callable
        `make_error(kind, facts)` gives a pickled exception of class `kind`. `facts` has
        `message`, `actor_id` (hex), `class_name`, `name`, `namespace`, `init_failed`, and as
        `cause` the pickled exception that `__init__` raised, b"" if none.
    job_config : callable
        The configuration of a job by its number.
    owner_of : callable, optional
        The process that is to create an actor not known yet; by default the one named by the
        id's first 8 bytes.
    """

    def __init__(
        self,
        make_error: Callable[[str, dict[str, Any]], bytes],
        job_config: Callable[[int], JobConfig],
        owner_of: Callable[[bytes], str] = promised_owner,
    ) -> None:
        self._make_error = make_error
        self._job_config = job_config
        self._owner_of = owner_of
        self._actors: dict[bytes, Actor] = {}
        self._names = ActorNames()
        self._watchers = ActorWatchers()
        #: {executor: its actor}, while the process lives.
        self._by_process: dict[str, bytes] = {}
        #: Dead actors without a process, oldest first; then only their ids.
        self._buried: OrderedDict[bytes, None] = OrderedDict()
        self._forgotten = Departed()
        self._dead_processes = Departed()
        self._ended_jobs: set[int] = set()
        self._now = 0.0

    # -- birth -------------------------------------------------------------------

    def create(self, sender: str, job: int, message: CreateActor, now: float) -> list[Instruction]:
        """Make an actor; its creator watches it from now on.

        The first `ActorState` that the creator gets is the answer: PENDING, or DEAD with
        `ActorAlreadyExistsError` if another actor has the name.
        """
        self._now = now
        spec = message.spec
        if spec.id in self._actors:
            return []
        actor = self._actors[spec.id] = Actor(spec, job, sender, now)
        kill = self._watchers.created(spec.id)
        if sender not in self._dead_processes:
            self._watchers.add(spec.id, sender)
        if kill is not None:
            return self._die(actor, kill.reason or KILLED)
        orphan = sender in self._dead_processes or job in self._ended_jobs
        if orphan and not spec.detached:
            return self._die(actor, "the process that made it has ended")
        if not self._names.claim(spec):
            text = taken((spec.namespace, spec.name))
            return self._die(actor, text, kind="ActorAlreadyExistsError")
        return [*self._tell(actor), *self._want(actor)]

    def reserve_name(self, sender: str, name: str, namespace: str, actor: bytes) -> dict[str, Any]:
        """Keep a name for the actor that `sender` is about to create.

        Raises
        ------
        ValueError
            If a living actor has it, or another is about to.
        """
        if actor not in self._actors:
            self._names.reserve(sender, (namespace, name), actor)
        return {"actor": actor}

    def _want(self, actor: Actor) -> list[Instruction]:
        actor.wants = True
        return [actor.want()]

    def placed(self, actor_id: bytes, node: str, lease: int) -> list[Instruction]:
        """The answer to `WantActor`: the actor has a lease. Released if it is not wanted now."""
        actor = self._actors.get(actor_id)
        if actor is None or not actor.wants:
            return [ReleaseLease(lease)]
        actor.wants = False
        actor.seat = Seat(lease, node)
        config = self._job_config(actor.job)
        return [Send(node, actor.start(config))]

    def unplaceable(self, actor_id: bytes, error: bytes, now: float) -> list[Instruction]:
        """No node can have it, or its node cannot start it: it is dead, with this error."""
        self._now = now
        actor = self._actors.get(actor_id)
        if actor is None or (actor.seat is not None and actor.seat.process):
            return []
        out = self._leave_seat(actor)
        if actor.state != DEAD:
            out += self._die(actor, "it could not be started", error=error)
        return out

    def started(
        self, actor_id: bytes, incarnation: int, process: str, address: str, pid: int
    ) -> list[Instruction]:
        """Its node has found an executor for it, which is killed if it comes too late."""
        actor = self._actors.get(actor_id)
        if actor is None or actor.seat is None or actor.incarnation != incarnation:
            return []
        seat = actor.seat
        if seat.process:
            return []
        seat.process, seat.address, seat.pid = process, address, pid
        self._by_process[process] = actor_id
        if actor.state == DEAD:
            return list(actor.stop(actor.cause))
        if seat.killed:
            return list(actor.stop(seat.killed, no_restart=False))
        return [Send(process, Exit(False, actor.ending))] if actor.ending else []

    def ready(self, sender: str, message: ActorReady, now: float) -> list[Instruction]:
        """`__init__` is done, or has failed for good; its executor then ends by itself."""
        self._now = now
        actor = self._incarnation(sender, message.actor, message.incarnation)
        if actor is None or actor.state == ALIVE:
            return []
        if message.error:
            text = "its `__init__` raised an exception"
            return self._die(actor, text, init_failed=True, cause=message.error)
        actor.state = ALIVE
        return self._tell(actor)

    def save_checkpoint(self, sender: str, message: SaveCheckpoint) -> list[Instruction]:
        """Keep what an actor's next incarnation is to begin with."""
        actor = self._incarnation(sender, message.actor, message.incarnation)
        return list(actor.save(message)) if actor is not None else []

    def _incarnation(self, sender: str, actor_id: bytes, incarnation: int) -> Actor | None:
        """The living actor that `sender` is, if it is that incarnation of it."""
        actor = self._actors.get(actor_id)
        if actor is None or actor.state == DEAD or actor.incarnation != incarnation:
            return None
        return actor if actor.seat is not None and actor.seat.process == sender else None

    # -- ends --------------------------------------------------------------------

    def process_lost(self, name: str, reason: str, status: int, now: float) -> list[Instruction]:
        """A process is gone: an actor's, that of somebody who watches, or a creator."""
        self._now = now
        self._dead_processes.add(name)
        out = self._forget_process(name)
        actor_id = self._by_process.get(name)
        if actor_id is not None:
            actor = self._actors[actor_id]
            assert actor.seat is not None
            out += self._crashed(actor, how_it_ended(actor.seat.pid, reason, status))
        return out

    def node_lost(self, name: str, now: float, reason: str = "") -> list[Instruction]:
        """A node is gone with all that was or was being started there."""
        self._now = now
        text = f"its node died ({reason})" if reason else "its node died"
        seated = [a for a in self._actors.values() if a.seat is not None and a.seat.node == name]
        return [instruction for actor in seated for instruction in self._crashed(actor, text)]

    def _crashed(self, actor: Actor, text: str) -> list[Instruction]:
        """Its process has ended: it starts again, or is dead."""
        assert actor.seat is not None
        text = actor.ending or actor.seat.killed or text
        out = self._leave_seat(actor)
        if actor.state == DEAD:
            return out
        if not actor.may_restart:
            return out + self._die(actor, text)
        actor.state, actor.cause = RESTARTING, text
        actor.incarnation += 1
        return [*out, *self._tell(actor), *self._want(actor)]

    def kill(self, sender: str, message: KillActor, now: float) -> list[Instruction]:
        """End an actor for good, or only its process (`no_restart=False`)."""
        self._now = now
        actor = self._actors.get(message.actor)
        reason = message.reason or KILLED
        if actor is None:
            if message.no_restart and message.actor.hex() not in self._forgotten:
                self._watchers.too_early(message.actor, message)
            return []
        if actor.state == DEAD:
            return []
        if message.no_restart:
            return [*self._die(actor, reason), *actor.stop(reason)]
        if actor.seat is not None:
            actor.seat.killed = reason
        return list(actor.stop(reason, no_restart=False))

    def exiting(self, sender: str, message: ActorExiting, now: float) -> list[Instruction]:
        """The actor ends of its own will, and for good."""
        self._now = now
        actor = self._incarnation(sender, message.actor, message.incarnation)
        if actor is None:
            return []
        return self._die(actor, message.reason or "`exit_actor` was called")

    def handles_gone(self, actor_id: bytes) -> list[Instruction]:
        """No process has a handle any more: it ends when the calls that it has are done.

        Callers hold the handle until their calls are answered, so nothing waits for an actor that
        has not even been placed. Detached actors live on.
        """
        actor = self._actors.get(actor_id)
        if actor is None or actor.state == DEAD or actor.spec.detached or actor.ending:
            return []
        if actor.seat is None:
            return self._die(actor, OUT_OF_SCOPE)
        actor.ending = OUT_OF_SCOPE
        self._names.free(actor.spec)
        process = actor.seat.process
        return [Send(process, Exit(False, OUT_OF_SCOPE))] if process else []

    def job_ended(self, job: int, now: float) -> list[Instruction]:
        """The job's actors end with it, but for the detached ones."""
        self._now = now
        self._ended_jobs.add(job)
        out: list[Instruction] = []
        for actor in [a for a in self._actors.values() if a.job == job]:
            if actor.state != DEAD and not actor.spec.detached:
                out += self._die(actor, "its job has ended")
                process = actor.seat.process if actor.seat else ""
                end = [Send(process, Exit(True, actor.cause))] if process else None
                out += end or actor.stop(actor.cause)
        return out

    def _die(
        self, actor: Actor, text: str, kind: str = "ActorDiedError", error: bytes = b"",
        init_failed: bool = False, cause: bytes = b"",
    ) -> list[Instruction]:  # fmt: skip
        out: list[Instruction] = [CancelActorLease(actor.id)] if actor.wants else []
        actor.wants = False
        actor.state, actor.cause, actor.ended = DEAD, text, self._now
        actor.error = error or self._make_error(
            kind,
            {
                "message": text if kind != "ActorDiedError" else f"{actor.title()}: {text}",
                "actor_id": actor.id.hex(), "class_name": actor.spec.class_name,
                "name": actor.spec.name, "namespace": actor.spec.namespace,
                "init_failed": init_failed, "cause": cause,
            },
        )  # fmt: skip
        self._names.free(actor.spec)
        out += actor.strip()
        out += self._tell(actor)
        self._watchers.drop(actor.id)
        self._bury(actor)
        return out

    def _leave_seat(self, actor: Actor) -> list[Instruction]:
        """Its process is gone, or will never be."""
        seat, actor.seat = actor.seat, None
        if seat is None:
            return []
        self._by_process.pop(seat.process, None)
        self._bury(actor)
        return [ReleaseLease(seat.lease)]

    def _bury(self, actor: Actor) -> None:
        if actor.state != DEAD or actor.seat is not None:
            return
        self._buried[actor.id] = None
        if len(self._buried) > DEAD_KEPT:
            oldest, _ = self._buried.popitem(last=False)
            del self._actors[oldest]
            self._forgotten.add(oldest.hex())

    # -- who is told -----------------------------------------------------------------

    def watch(self, sender: str, message: WatchActor) -> list[Instruction]:
        """Tell `sender` the state now and at each change, until the actor is dead."""
        id = message.actor
        if sender in self._dead_processes:
            return []
        actor = self._actors.get(id)
        if actor is not None:
            if actor.state != DEAD:
                self._watchers.add(id, sender)
            return [Send(sender, actor.told())]
        if id.hex() in self._forgotten or self._owner_of(id) in self._dead_processes:
            return [Send(sender, self._unknown(id))]
        self._watchers.add(id, sender)
        self._watchers.too_early(id)
        return [Send(sender, ActorState(id, PENDING))]

    def _tell(self, actor: Actor) -> list[Instruction]:
        state = actor.told()
        return [Send(watcher, state) for watcher in self._watchers.of(actor.id)]

    def _unknown(self, actor_id: bytes) -> ActorState:
        text = "it is dead for long, or the process that was to make it has ended"
        facts = {"message": f"{actor_id.hex()}: {text}", "actor_id": actor_id.hex()}
        return ActorState(actor_id, DEAD, error=self._make_error("ActorDiedError", facts))

    def _forget_process(self, name: str) -> list[Instruction]:
        """Drop what a dead process watched and reserved; fail what it was to create."""
        self._watchers.forget_process(name)
        self._names.forget_process(name)
        return [
            Send(watcher, self._unknown(id))
            for id in [id for id in self._watchers.early if self._owner_of(id) == name]
            for watcher in self._watchers.drop(id)
        ]

    # -- questions ---------------------------------------------------------------

    def get_actor(self, name: str, namespace: str = "") -> dict[str, Any]:
        """What a handle of the living actor of that name needs.

        Raises
        ------
        ValueError
            If there is none.
        """
        actor = self._names.find(name, namespace)
        if actor is None:
            raise ValueError(f"There is no actor named {name!r} in the namespace {namespace!r}.")
        return self._actors[actor].for_handle()

    def list_named(self, namespace: str | None = None) -> list[dict[str, str]]:
        """Name and namespace of each living named actor, of one namespace or of all (`None`)."""
        return self._names.listed(namespace)

    def job_of(self, actor_id: bytes) -> int | None:
        """The number of the actor's job, `None` for an unknown actor."""
        actor = self._actors.get(actor_id)
        return actor.job if actor is not None else None

    def actors(self) -> list[dict[str, Any]]:
        """Facts about each actor, oldest first; the last `DEAD_KEPT` dead ones are among them."""
        return [actor.facts() for actor in self._actors.values()]

    def validate(self) -> None:
        """Assert what must hold between any two calls."""
        for key, id in self._names.holders.items():
            actor = self._actors.get(id)
            assert (actor is None) == (key in self._names.reserved), key
            assert actor is None or (actor.state != DEAD and not actor.ending), key
        seats = {a.seat.process: a.id for a in self._actors.values() if a.seat and a.seat.process}
        assert seats == self._by_process
        self._watchers.validate({a.id for a in self._actors.values() if a.state != DEAD})
        for actor in self._actors.values():
            actor.validate()
            buried = actor.state == DEAD and actor.seat is None
            assert (actor.id in self._buried) == buried, actor
