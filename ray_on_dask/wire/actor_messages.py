"""The life of actors: messages between creators, callers, nodes and the control store."""

from __future__ import annotations

import msgspec

from ray_on_dask.wire.values import ActorSpec, JobConfig


class CreateActor(msgspec.Struct, frozen=True, array_like=True, tag=60):
    """Owner to control store."""

    spec: ActorSpec


class StartActor(msgspec.Struct, frozen=True, array_like=True, tag=61):
    """Control store to node: find an executor and make it this actor."""

    lease: int
    spec: ActorSpec
    incarnation: int
    job: int
    config: JobConfig
    #: What its last incarnation has saved of its state, b"" if nothing.
    checkpoint: bytes = b""


class BecomeActor(msgspec.Struct, frozen=True, array_like=True, tag=62):
    """Node to executor."""

    lease: int
    spec: ActorSpec
    incarnation: int
    gpus: list[int | str] = []
    checkpoint: bytes = b""


class ActorReady(msgspec.Struct, frozen=True, array_like=True, tag=63):
    """Executor to control store: `__init__` is done, or failed with `error`."""

    actor: bytes
    incarnation: int
    error: bytes = b""


class ActorState(msgspec.Struct, frozen=True, array_like=True, tag=64):
    """Control store to whom has asked: where the actor is, or how it ended."""

    actor: bytes
    #: "PENDING", "ALIVE", "RESTARTING", "DEAD".
    state: str
    incarnation: int = 0
    process: str = ""
    #: As in `Granted`.
    address: str = ""
    node: str = ""
    #: Pickled exception for calls that cannot be made any more.
    error: bytes = b""
    max_task_retries: int = 0
    #: Of one that restarts: how its last process ended.
    reason: str = ""


class WatchActor(msgspec.Struct, frozen=True, array_like=True, tag=65):
    """Process to control store: tell me about this actor, now and at each change."""

    actor: bytes


class KillActor(msgspec.Struct, frozen=True, array_like=True, tag=66):
    """Process to control store to node: end it."""

    actor: bytes
    no_restart: bool = True
    reason: str = ""


class ActorExiting(msgspec.Struct, frozen=True, array_like=True, tag=67):
    """Executor to control store: the actor ends of its own will (`exit_actor`)."""

    actor: bytes
    incarnation: int
    reason: str = ""


class ActorStillborn(msgspec.Struct, frozen=True, array_like=True, tag=68):
    """Owner to control store: the actor cannot be made, an argument has failed."""

    spec: ActorSpec
    error: bytes


class SaveCheckpoint(msgspec.Struct, frozen=True, array_like=True, tag=69):
    """Executor to control store: what the actor's next incarnation is to begin with."""

    actor: bytes
    incarnation: int
    data: bytes
    #: Refs in it, which the control store holds in the actor's name.
    inner: list[bytes] = []
