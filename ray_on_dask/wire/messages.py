"""The whole protocol: every message that one process of a session sends to another.

Each message is an immutable record; its tag is its number on the wire, where it
travels as a msgpack array. `decode` checks types, so garbage is an error at the
door and never a half-filled message. Who sends what to whom:

- *process* (driver or executor) and *hub* (its node), over the hub's Unix socket;
- *process* and *control store*: the same socket, the node hands it on unopened;
- *owner* and *executor*: straight, over the executor's own Unix socket; on two hosts through
  their nodes (`ray_on_dask.wire.relay_messages`).

Ids are bytes (`ray_on_dask.ids`), processes and nodes are named by strings that
are never used twice, quantities are fixed-point 1/10,000 units.
"""

from __future__ import annotations

from typing import Any, Union, get_args

import msgspec

from ray_on_dask.wire.actor_messages import (
    ActorExiting as ActorExiting,
    ActorReady as ActorReady,
    ActorState as ActorState,
    ActorStillborn as ActorStillborn,
    BecomeActor as BecomeActor,
    CreateActor as CreateActor,
    KillActor as KillActor,
    SaveCheckpoint as SaveCheckpoint,
    StartActor as StartActor,
    WatchActor as WatchActor,
)
from ray_on_dask.wire.copy_messages import (
    Copied as Copied,
    CopiesFreed as CopiesFreed,
    HandOver as HandOver,
    Unreachable as Unreachable,
)
from ray_on_dask.wire.group_messages import (
    CreateGroup as CreateGroup,
    GroupState as GroupState,
    KillLease as KillLease,
    RemoveGroup as RemoveGroup,
    WatchGroup as WatchGroup,
)
from ray_on_dask.wire.loss_messages import Missing as Missing, NodeLost as NodeLost
from ray_on_dask.wire.relay_messages import Relay as Relay
from ray_on_dask.wire.store_messages import (
    Closed as Closed,
    Forget as Forget,
    Forgotten as Forgotten,
    FreeObjects as FreeObjects,
    NeedRoom as NeedRoom,
    Open as Open,
    Opened as Opened,
    OwnerGone as OwnerGone,
    Pressure as Pressure,
    Room as Room,
    Sealed as Sealed,
    SpaceFreed as SpaceFreed,
    TookRoom as TookRoom,
    Unheard as Unheard,
    Unwanted as Unwanted,
    Viewed as Viewed,
)
from ray_on_dask.wire.task_messages import (
    BeginLease as BeginLease,
    Blocked as Blocked,
    Cancel as Cancel,
    Consumed as Consumed,
    Demand as Demand,
    EndLease as EndLease,
    Function as Function,
    GivenBack as GivenBack,
    Granted as Granted,
    Infeasible as Infeasible,
    LeaseEnded as LeaseEnded,
    LeaseFailed as LeaseFailed,
    LeaseLost as LeaseLost,
    LeaseStarted as LeaseStarted,
    Push as Push,
    Recall as Recall,
    Results as Results,
    ReturnLease as ReturnLease,
    Serializer as Serializer,
    StartLease as StartLease,
    Taken as Taken,
    Unblocked as Unblocked,
    Yielded as Yielded,
)
from ray_on_dask.wire.values import (
    CANCELLED as CANCELLED,
    DONE as DONE,
    DYNAMIC as DYNAMIC,
    ERROR as ERROR,
    FAILED as FAILED,
    FLUSH as FLUSH,
    FREED as FREED,
    INLINE as INLINE,
    METHOD as METHOD,
    PENDING as PENDING,
    STORED as STORED,
    STREAM as STREAM,
    UNKNOWN as UNKNOWN,
    ActorSpec as ActorSpec,
    Dependency as Dependency,
    JobConfig as JobConfig,
    Located as Located,
    Result as Result,
    SchedulingClass as SchedulingClass,
    Task as Task,
    Value as Value,
)

# -- getting to know each other ------------------------------------------------


class Hello(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """First message on any connection: who is calling."""

    process: str
    kind: str  # "driver", "executor", "owner"
    pid: int
    job: JobConfig | None = None
    #: Where this process may be called itself, "" if nowhere.
    address: str = ""


class Welcome(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """Control store to a driver: you are in."""

    job: int
    node: str
    #: Facts about the session: addresses, directories, versions (JSON).
    session: str


class Adopt(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Node to executor: you serve this job from now on, for life."""

    job: int
    config: JobConfig
    runtime_env: str = ""


class Exit(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Node to executor: end when your own tasks are settled (or at once, if `force`)."""

    force: bool = False
    reason: str = ""


class Retired(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """Executor to node: no more work to me (`max_calls`, `exit_actor`); I end when I can."""

    reason: str = ""


class Lost(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """Node to control store, and control store to whom it concerns: this process is gone."""

    process: str
    reason: str
    #: Task that its main thread was in, b"" if none, UNKNOWN if its node died too.
    running: bytes = b""
    #: Exit code, or minus the signal's number.
    status: int = 0


class JobEnded(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """Control store to nodes: end the executors of this job."""

    job: int


# -- refs: process and directory ---------------------------------------------------


class Promote(msgspec.Struct, frozen=True, array_like=True, tag=40):
    """Owner to directory: this ref is about to be known outside; what it is now.

    The owner holds it from here on. `value.inner` are refs that it contains.
    """

    id: bytes
    value: Value
    #: For keys and listings: the function that makes it, "put" for a put.
    label: str = ""


class Resolve(msgspec.Struct, frozen=True, array_like=True, tag=41):
    """Owner to directory: a promoted ref that was pending has its value."""

    id: bytes
    value: Value


class Hold(msgspec.Struct, frozen=True, array_like=True, tag=42):
    """To directory: `holder` (a process) holds `id` once more; sent before it may let go."""

    id: bytes
    holder: str


class Release(msgspec.Struct, frozen=True, array_like=True, tag=43):
    """To directory: the sender lets go of each id as many times as it took hold of it."""

    ids: list[tuple[bytes, int]]


class Subscribe(msgspec.Struct, frozen=True, array_like=True, tag=44):
    """To directory: tell me the value of these when there is one."""

    ids: list[bytes]


class Resolved(msgspec.Struct, frozen=True, array_like=True, tag=45):
    """Directory to subscriber."""

    id: bytes
    value: Value


class WaitingFor(msgspec.Struct, frozen=True, array_like=True, tag=46):
    """Blocked process to directory, and directory to owners: make these first."""

    ids: list[bytes]


class Sync(msgspec.Struct, frozen=True, array_like=True, tag=47):
    """To control store: answer when all that I sent before is done."""

    token: int


class Synced(msgspec.Struct, frozen=True, array_like=True, tag=48):
    """Control store's answer."""

    token: int


class FreeRefs(msgspec.Struct, frozen=True, array_like=True, tag=49):
    """To directory: free the values of these now, whoever holds them (`internal.free`)."""

    ids: list[bytes]
    #: Whether they have values for certain, also where the directory has not heard of it.
    seen: bool = False


# -- questions, logs, events -----------------------------------------------------------------


class Ask(msgspec.Struct, frozen=True, array_like=True, tag=70):
    """Process to control store: a question that is rare enough for a plain name."""

    request: int
    what: str
    args: dict[str, Any] = {}


class Answer(msgspec.Struct, frozen=True, array_like=True, tag=71):
    """Control store's reply; `error` says why there is none."""

    request: int
    value: Any = None
    error: str = ""


class LogLines(msgspec.Struct, frozen=True, array_like=True, tag=72):
    """Node to driver: what its tasks printed."""

    job: int
    name: str
    pid: int
    node: str
    lines: list[str]
    is_error: bool = False


class TaskEvents(msgspec.Struct, frozen=True, array_like=True, tag=73):
    """Executor to control store: what ran lately, in one batch.

    `runs`: (task id, function name, start, stop, ok) of the latest, bounded;
    `counts`: {function: (number, seconds, failed)} of all; `waiting`: tasks aboard, not begun.
    """

    job: int
    pid: int
    runs: list[tuple[bytes, str, float, float, bool]]
    counts: dict[str, tuple[int, float, int]]
    waiting: int = 0


class ErrorRecord(msgspec.Struct, frozen=True, array_like=True, tag=74):
    """Executor to control store: a failure for the error log."""

    job: int
    kind: str
    message: str
    data: str
    timestamp: float


Message = Union[  # noqa: UP007 - a list that is read, and that `get_args` takes apart
    Hello, Welcome, Adopt, Exit, Retired, Lost, JobEnded, NodeLost,
    Demand, StartLease, LeaseStarted, BeginLease, Granted, ReturnLease, EndLease, LeaseEnded,
    LeaseLost, LeaseFailed, Blocked, Unblocked, Infeasible,
    Function, Serializer, Push, Recall, GivenBack, Results, Cancel, Yielded, Consumed,
    Taken,
    Promote, Resolve, Hold, Release, Subscribe, Resolved, WaitingFor, Sync, Synced, FreeRefs,
    Missing,
    Sealed, FreeObjects, SpaceFreed, OwnerGone, Unheard, Unwanted,
    Open, Opened, Closed, Pressure, Viewed, Forget, Forgotten,
    NeedRoom, Room, TookRoom,
    CreateActor, StartActor, BecomeActor, ActorReady, ActorState, WatchActor, KillActor,
    ActorExiting, ActorStillborn, SaveCheckpoint,
    Ask, Answer, LogLines, TaskEvents, ErrorRecord,
    CreateGroup, RemoveGroup, WatchGroup, GroupState, KillLease,
    Relay, Copied, CopiesFreed, Unreachable, HandOver,
]  # fmt: skip

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Message).decode

TAGS = {kind.__struct_config__.tag: kind for kind in get_args(Message)}
