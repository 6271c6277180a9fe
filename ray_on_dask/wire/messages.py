"""The whole protocol: every message that one process of a session sends to another.

Each message is an immutable record; its tag is its number on the wire, where it
travels as a msgpack array. `decode` checks types, so garbage is an error at the
door and never a half-filled message. Who sends what to whom:

- *process* (driver or executor) and *hub* (its node), over the hub's Unix socket;
- *process* and *control store*: the same socket, the node hands it on unopened;
- *owner* and *executor*: straight, over the executor's own Unix socket.

Ids are bytes (`ray_on_dask.ids`), processes and nodes are named by strings that
are never used twice, quantities are fixed-point 1/10,000 units.
"""

from __future__ import annotations

from typing import Any, Union, get_args

import msgspec

# What a `Value` is. INLINE: `data` is the serialized value; STORED: it lies at
# `at`; ERROR: `data` is a pickled exception; FREED: it was and is no more;
# PENDING: nobody has made it yet.
INLINE, STORED, ERROR, FREED, PENDING = range(5)

# How a task ended, in `Result.status`.
DONE, FAILED, CANCELLED, NOT_STARTED = range(4)

# Bits of `Task.flags`.
FLUSH = 1  #: send the result before anything else is started (at-most-once tasks)
RETRY_EXCEPTIONS = 2  #: an exception counts as a failed attempt (owner decides)
STREAM = 4  #: a generator whose values are sent as they come
DYNAMIC = 8  #: a generator whose refs come as one list
METHOD = 16  #: a call of an actor's method


class Located(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Where a stored object's bytes are: `size` bytes at `offset` of file `segment` of `node`."""

    node: str
    segment: str
    offset: int
    size: int


class Value(msgspec.Struct, frozen=True, array_like=True):
    """An object as it travels: see the kinds above."""

    kind: int
    data: bytes = b""
    at: Located | None = None
    #: Ids of the refs inside the value.
    inner: list[bytes] = []


class Dependency(msgspec.Struct, frozen=True, array_like=True):
    """An argument that was a ref: `place` is its position or its keyword."""

    place: int | str
    id: bytes
    value: Value


class Task(msgspec.Struct, array_like=True):
    """One call of a remote function or of an actor's method."""

    id: bytes
    function: bytes
    args: Value
    dependencies: list[Dependency] = []
    returns: int = 1
    flags: int = 0
    attempt: int = 0
    #: Process title and log name; "" for the function's own.
    name: str = ""
    #: Method name of an actor call.
    method: str = ""
    #: Values a generator may be ahead of its reader; 0 for no limit.
    backpressure: int = 0
    #: Concurrency group of an actor call.
    group: str = ""
    #: The placement group that child tasks inherit, 18 bytes, or nothing.
    placement_group: bytes = b""


class Result(msgspec.Struct, array_like=True):
    """How a task ended, with its values."""

    task: bytes
    status: int
    values: list[Value]
    #: Seconds the user's code ran.
    seconds: float = 0.0
    #: For ERROR: whether the exception is one that `retry_exceptions` may match.
    error_type: str = ""


class JobConfig(msgspec.Struct, frozen=True, array_like=True):
    """What executors take over from the driver of their job."""

    sys_path: list[str] = []
    cwd: str = ""
    namespace: str = ""
    log_to_driver: bool = True
    redirect_output: bool = False
    #: `object_id_seed` of `init`, or nothing.
    id_seed: int | None = None
    runtime_env: str = ""
    #: Whether `wait(timeout=<int>)` means milliseconds.
    wait_milliseconds: bool = True
    entrypoint: str = ""


class SchedulingClass(msgspec.Struct, frozen=True, array_like=True):
    """What a lease is granted for: tasks that agree in all of this share leases."""

    resources: dict[str, int]
    #: "DEFAULT", "SPREAD", or a JSON object for the strategies with fields.
    strategy: str = "DEFAULT"
    #: Canonical JSON of the runtime environment, "" for the job's.
    runtime_env: str = ""
    #: Executors are not shared by classes of another `max_calls` function.
    function: bytes = b""
    max_calls: int = 0
    #: For people: what runs under it.
    name: str = ""


class ActorSpec(msgspec.Struct, frozen=True, array_like=True):
    """All that is needed to make an actor, and to make it again."""

    id: bytes
    #: Pickled class, and its hash.
    function: bytes
    pickled: bytes
    class_name: str
    args: Value
    dependencies: list[Dependency]
    #: Needed to be placed, and held while it lives.
    placement: dict[str, int]
    lifetime: dict[str, int]
    name: str = ""
    namespace: str = ""
    detached: bool = False
    max_restarts: int = 0
    max_task_retries: int = 0
    max_concurrency: int = 0
    concurrency_groups: dict[str, int] = {}
    is_async: bool = False
    max_pending_calls: int = -1
    out_of_order: bool = False
    runtime_env: str = ""
    strategy: str = "DEFAULT"
    #: Pickled facts about the methods, for handles made by `get_actor`.
    methods: bytes = b""
    checkpoint_interval: int = 0
    placement_group: bytes = b""


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
    #: Task that its main thread was in, b"" if none.
    running: bytes = b""
    #: Exit code, or minus the signal's number.
    status: int = 0


class JobEnded(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """Control store to nodes: end the executors of this job."""

    job: int


# -- leases --------------------------------------------------------------------


class Demand(msgspec.Struct, frozen=True, array_like=True, tag=10):
    """Owner to control store: how many leases of a class it wants in all, those it has included."""

    class_id: int
    wanted: int
    #: Sent with the first demand of a class.
    spec: SchedulingClass | None = None
    #: Somebody who holds a CPU is blocked on these tasks.
    urgent: bool = False
    #: {node: bytes of dependencies that lie there}.
    locality: dict[str, int] = {}


class StartLease(msgspec.Struct, frozen=True, array_like=True, tag=11):
    """Control store to node: find an executor for this lease."""

    lease: int
    owner: str
    job: int
    config: JobConfig
    spec: SchedulingClass
    class_id: int


class LeaseStarted(msgspec.Struct, frozen=True, array_like=True, tag=12):
    """Node to control store: `executor` is bound to the lease."""

    lease: int
    executor: str
    address: str
    pid: int
    gpus: list[int] = []
    #: Why there is none, "" if there is one.
    error: str = ""


class BeginLease(msgspec.Struct, frozen=True, array_like=True, tag=13):
    """Node to executor: take this owner's tasks."""

    lease: int
    owner: str
    spec: SchedulingClass
    gpus: list[int] = []


class Granted(msgspec.Struct, frozen=True, array_like=True, tag=14):
    """Control store to owner: push tasks of the class to this executor."""

    lease: int
    class_id: int
    executor: str
    address: str
    node: str


class ReturnLease(msgspec.Struct, frozen=True, array_like=True, tag=15):
    """Owner to control store: I no longer need it (no task of mine is aboard)."""

    lease: int


class EndLease(msgspec.Struct, frozen=True, array_like=True, tag=16):
    """Control store to node to executor: the lease ends at the next task boundary."""

    lease: int


class LeaseEnded(msgspec.Struct, frozen=True, array_like=True, tag=17):
    """Executor to control store (and to the owner, on their own line): nothing of it is left here."""

    lease: int


class LeaseLost(msgspec.Struct, frozen=True, array_like=True, tag=18):
    """Control store to owner: the executor died; `running` is the task it was in."""

    lease: int
    reason: str
    running: bytes = b""
    status: int = 0


class LeaseFailed(msgspec.Struct, frozen=True, array_like=True, tag=19):
    """Control store to owner: no lease of this class can be had; its tasks fail with `error`."""

    class_id: int
    error: bytes


class Blocked(msgspec.Struct, frozen=True, array_like=True, tag=20):
    """Executor to control store: my task's main thread waits; its CPU is lent."""

    lease: int


class Unblocked(msgspec.Struct, frozen=True, array_like=True, tag=21):
    """Executor to control store: it goes on, and wants its CPU back."""

    lease: int


class Infeasible(msgspec.Struct, frozen=True, array_like=True, tag=22):
    """Control store to owner: no node can ever fit this; a warning for people."""

    name: str
    text: str


class Scarce(msgspec.Struct, frozen=True, array_like=True, tag=23):
    """Control store to owner: others wait for CPUs (or no longer), so send idle leases back at once."""

    scarce: bool


# -- tasks: owner and executor ---------------------------------------------------


class Function(msgspec.Struct, frozen=True, array_like=True, tag=30):
    """Owner to executor: a pickled function that tasks after this one name by id."""

    id: bytes
    name: str
    pickled: bytes


class Push(msgspec.Struct, frozen=True, array_like=True, tag=31, gc=False):
    """Owner to executor: run these, in order."""

    lease: int
    tasks: list[Task]


class Recall(msgspec.Struct, frozen=True, array_like=True, tag=32):
    """Owner to executor: give back up to `count` tasks that are not started, last ones first."""

    lease: int
    count: int


class GivenBack(msgspec.Struct, frozen=True, array_like=True, tag=33):
    """Executor to owner: these were not started and never will be here."""

    lease: int
    tasks: list[bytes]
    #: The running task waits for others: send nothing more until it has ended.
    blocked: bool = False


class Results(msgspec.Struct, frozen=True, array_like=True, tag=34, gc=False):
    """Executor to owner: these have ended."""

    lease: int
    results: list[Result]


class Cancel(msgspec.Struct, frozen=True, array_like=True, tag=35):
    """Owner to executor: interrupt the task if it runs, drop it if it waits."""

    task: bytes
    force: bool = False
    recursive: bool = True


class Yielded(msgspec.Struct, frozen=True, array_like=True, tag=36):
    """Executor to owner: the `index`-th value of a streaming generator."""

    task: bytes
    index: int
    value: Value


class Consumed(msgspec.Struct, frozen=True, array_like=True, tag=37):
    """Owner to executor: the reader has taken `count` values in all."""

    task: bytes
    count: int


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


# -- the store: process and node -----------------------------------------------------


class Sealed(msgspec.Struct, frozen=True, array_like=True, tag=50):
    """Writer to node: an object lies there, complete."""

    id: bytes
    at: Located
    #: Dask key it gets: "<function>-<hex>".
    key: str


class FreeObjects(msgspec.Struct, frozen=True, array_like=True, tag=51):
    """Owner to node, or directory to node: nobody can reach these any more."""

    ids: list[bytes]
    #: The node that has them, "" for the owner's own.
    node: str = ""


class SpaceFreed(msgspec.Struct, frozen=True, array_like=True, tag=52):
    """Node to writer: these places of yours may be written again."""

    places: list[Located]


# -- actors ------------------------------------------------------------------------------


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


class BecomeActor(msgspec.Struct, frozen=True, array_like=True, tag=62):
    """Node to executor."""

    lease: int
    spec: ActorSpec
    incarnation: int
    gpus: list[int] = []


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
    address: str = ""
    node: str = ""
    #: Pickled exception for calls that cannot be made any more.
    error: bytes = b""
    max_task_retries: int = 0


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
    """Owner to control store: the actor cannot be made, an argument of its `__init__` has failed."""

    spec: ActorSpec
    error: bytes


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
    `counts`: {function: (number, seconds, failed)} of all.
    """

    job: int
    pid: int
    runs: list[tuple[bytes, str, float, float, bool]]
    counts: dict[str, tuple[int, float, int]]


class ErrorRecord(msgspec.Struct, frozen=True, array_like=True, tag=74):
    """Executor to control store: a failure for the error log."""

    job: int
    kind: str
    message: str
    data: str
    timestamp: float


Message = Union[
    Hello, Welcome, Adopt, Exit, Retired, Lost, JobEnded,
    Demand, StartLease, LeaseStarted, BeginLease, Granted, ReturnLease, EndLease, LeaseEnded,
    LeaseLost, LeaseFailed, Blocked, Unblocked, Infeasible, Scarce,
    Function, Push, Recall, GivenBack, Results, Cancel, Yielded, Consumed,
    Promote, Resolve, Hold, Release, Subscribe, Resolved, WaitingFor, Sync, Synced, FreeRefs,
    Sealed, FreeObjects, SpaceFreed,
    CreateActor, StartActor, BecomeActor, ActorReady, ActorState, WatchActor, KillActor,
    ActorExiting, ActorStillborn,
    Ask, Answer, LogLines, TaskEvents, ErrorRecord,
]  # fmt: skip

#: Messages that a node opens itself; all others go on to the control store unopened.
FOR_THE_NODE = (Hello, Retired, Sealed, FreeObjects)

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Message).decode

TAGS = {kind.__struct_config__.tag: kind for kind in get_args(Message)}
