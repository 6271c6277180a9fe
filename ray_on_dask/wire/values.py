"""The records that messages are made of: tasks, values, what a lease or an actor is asked for."""

from __future__ import annotations

import msgspec

# What a `Value` is. INLINE: `data` is the serialized value; STORED: it lies at
# `at`; ERROR: `data` is a pickled exception; FREED: it was and is no more;
# PENDING: nobody has made it yet.
INLINE, STORED, ERROR, FREED, PENDING = range(5)

# How a task ended, in `Result.status`.
DONE, FAILED, CANCELLED = range(3)

#: Instead of a task's id: nobody knows what an executor was running when it died.
UNKNOWN = b"?"

# Bits of `Task.flags`.
FLUSH = 1  #: send the result before anything else is started (at-most-once tasks)
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
    #: JSON of the fields of a `LoggingConfig`, "" for none.
    logging: str = ""
    #: Bytes that an owner keeps of tasks whose results may have to be made again; 0 for none.
    lineage_bytes: int = 0
    #: The submitted job that the driver is part of, "" for none.
    submission: str = ""
    #: Whether the driver's program imports the package as `ray`.
    alias: bool = False
    #: Whether processes record what they launch, for `visualize_computation_graph`.
    record_graph: bool = False
    #: Whether they note where in the program refs are made.
    record_sites: bool = False


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
    #: The node with most of what its tasks read, "" if there is none such.
    near: str = ""


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
    #: Whether what the actor launches goes into its placement group as well.
    captures: bool = False
