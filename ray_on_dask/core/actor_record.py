"""What the control store knows of one actor, and how it is told to others."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ray_on_dask.core.instructions import HoldFor, Send, WantActor
from ray_on_dask.wire.messages import (
    INLINE,
    ActorSpec,
    ActorState,
    JobConfig,
    KillActor,
    SaveCheckpoint,
    StartActor,
    Value,
)

#: How reasons begin that a node gives by default: exit code or signal, which we have anyway.
PLAIN = ("exited with code", "killed by")

PENDING, ALIVE, RESTARTING, DEAD = "PENDING", "ALIVE", "RESTARTING", "DEAD"


@dataclass(slots=True, eq=False)
class Seat:
    """Where an incarnation is or was, from the grant of its lease to the end of its process."""

    lease: int
    node: str
    #: "" until the node has found an executor.
    process: str = ""
    address: str = ""
    pid: int = 0
    #: Why its process has been asked to end, though the actor may start again.
    killed: str = ""


@dataclass(slots=True, eq=False)
class Actor:
    """An actor, living or dead."""

    spec: ActorSpec
    job: int
    #: The process that made it.
    owner: str
    created: float
    state: str = PENDING
    #: Also the number of its restarts.
    incarnation: int = 0
    seat: Seat | None = None
    #: Its `WantActor` is not answered yet.
    wants: bool = False
    #: Why it ends when its calls are done and does not start again, "" if it does not end.
    ending: str = ""
    #: What the next incarnation begins with, and the refs in it.
    checkpoint: bytes = b""
    checkpoint_refs: list[bytes] = field(default_factory=list)
    #: When it died, and why; of a living one, how its last process ended.
    ended: float = 0.0
    cause: str = ""
    #: Of a dead one: the pickled exception for its callers.
    error: bytes = b""

    @property
    def id(self) -> bytes:
        """The actor's id."""
        return self.spec.id

    @property
    def may_restart(self) -> bool:
        """Whether it starts again if its process ends now."""
        left = self.spec.max_restarts < 0 or self.incarnation < self.spec.max_restarts
        return left and not self.ending

    def told(self) -> ActorState:
        """Its state as its callers get it; an address only if it can be called there."""
        seat = self.seat if self.state == ALIVE else None
        return ActorState(
            self.id, self.state, self.incarnation, seat.process if seat else "",
            seat.address if seat else "", seat.node if seat else "", self.error,
            self.spec.max_task_retries, self.cause if self.state == RESTARTING else "",
        )  # fmt: skip

    def want(self) -> WantActor:
        """What its next incarnation needs."""
        spec = self.spec
        return WantActor(
            self.id, self.job, self.incarnation, self.owner, spec.placement, spec.lifetime,
            spec.strategy, spec.placement_group, spec.runtime_env, spec.name or spec.class_name,
        )  # fmt: skip

    def start(self, config: JobConfig) -> StartActor:
        """What the node is told of it that is to start it."""
        assert self.seat is not None
        return StartActor(
            self.seat.lease, self.spec, self.incarnation, self.job, config, self.checkpoint
        )

    def stop(self, reason: str, no_restart: bool = True) -> list[Send]:
        """Have the node kill its process; none if there is no node."""
        if self.seat is None:
            return []
        return [Send(self.seat.node, KillActor(self.id, no_restart, reason))]

    def strip(self) -> list[HoldFor]:
        """Drop what only a start needs: a dead actor is kept for its callers and for listings."""
        released, self.checkpoint_refs, self.checkpoint = self.checkpoint_refs, [], b""
        self.spec = msgspec.structs.replace(
            self.spec, pickled=b"", args=Value(INLINE), dependencies=[], methods=b""
        )
        return [HoldFor(self.id, [], released)] if released else []

    def save(self, message: SaveCheckpoint) -> list[HoldFor]:
        """Keep what its process has saved, in place of what it had saved before."""
        released, self.checkpoint_refs = self.checkpoint_refs, message.inner
        self.checkpoint = message.data
        if not (message.inner or released):
            return []
        return [HoldFor(self.id, message.inner, released)]

    def title(self) -> str:
        """What people call it."""
        name = f" {self.spec.name!r}" if self.spec.name else ""
        return f"{self.spec.class_name}{name} ({self.id.hex()})"

    def facts(self) -> dict[str, Any]:
        """For listings. Times are those of the caller's clock, 0.0 for none."""
        seat = self.seat or Seat(0, "")
        return {
            "actor_id": self.id.hex(), "state": self.state, "class_name": self.spec.class_name,
            "name": self.spec.name, "namespace": self.spec.namespace, "node": seat.node,
            "process": seat.process, "pid": seat.pid, "restarts": self.incarnation,
            "job": self.job, "detached": self.spec.detached, "created": self.created,
            "ended": self.ended, "cause": self.cause if self.state == DEAD else "",
            "resources": self.spec.lifetime,
            "runtime_env": self.spec.runtime_env,
            "placement_group": self.spec.placement_group.hex(),
        }  # fmt: skip

    def for_handle(self) -> dict[str, Any]:
        """What a process needs to make a handle of it."""
        spec = self.spec
        return {
            "actor": spec.id, "function": spec.function, "class_name": spec.class_name,
            "methods": spec.methods,
            "name": spec.name, "namespace": spec.namespace, "job": self.job,
            "detached": spec.detached, "is_async": spec.is_async,
            "max_task_retries": spec.max_task_retries, "out_of_order": spec.out_of_order,
            "max_pending_calls": spec.max_pending_calls,
            "concurrency_groups": spec.concurrency_groups,
        }  # fmt: skip

    def validate(self) -> None:
        """Assert what must hold between any two events."""
        assert (self.state == DEAD) == bool(self.error), self
        assert self.state == DEAD or self.wants == (self.seat is None), self
        assert self.state != DEAD or not self.wants, self
        assert self.state != ALIVE or (self.seat is not None and self.seat.process), self
        assert self.spec.max_restarts < 0 or self.incarnation <= self.spec.max_restarts, self


def how_it_ended(pid: int, reason: str, status: int) -> str:
    """A clause about a process that ended by itself: exit code, or minus the signal's number."""
    if status < 0:
        how = f"its process {pid} was ended by signal {_signal_name(-status)}"
    else:
        how = f"its process {pid} exited with code {status}"
    return f"{how} ({reason})" if reason and not reason.startswith(PLAIN) else how


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)
