"""Messages about leases (owners, control store, nodes) and tasks (owner and executor)."""

from __future__ import annotations

import msgspec

from ray_on_dask.wire.values import JobConfig, Result, SchedulingClass, Task, Value

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
    #: For people: functions whose tasks these are, some of them, where there are new ones.
    names: list[str] = []


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
    gpus: list[int | str] = []
    #: Why there is none, "" if there is one.
    error: str = ""


class BeginLease(msgspec.Struct, frozen=True, array_like=True, tag=13):
    """Node to executor: take this owner's tasks."""

    lease: int
    owner: str
    spec: SchedulingClass
    gpus: list[int | str] = []


class Granted(msgspec.Struct, frozen=True, array_like=True, tag=14):
    """Control store to owner: push tasks of the class to this executor."""

    lease: int
    class_id: int
    executor: str
    #: Its socket, "" if that is on another host than the owner: the owner's hub has a way there.
    address: str
    node: str


class ReturnLease(msgspec.Struct, frozen=True, array_like=True, tag=15):
    """Owner to control store: I no longer need it (no task of mine is aboard)."""

    lease: int


class EndLease(msgspec.Struct, frozen=True, array_like=True, tag=16):
    """Control store to node to executor: the lease ends at the next task boundary."""

    lease: int


class LeaseEnded(msgspec.Struct, frozen=True, array_like=True, tag=17):
    """Executor to control store, and to the owner on their own line: nothing is left here."""

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
    """Control store to owner: a warning for people, of what no node can ever fit and the like."""

    name: str
    text: str


# -- tasks: owner and executor ---------------------------------------------------


class Function(msgspec.Struct, frozen=True, array_like=True, tag=30):
    """Owner to executor: a pickled function that tasks after this one name by id."""

    id: bytes
    name: str
    pickled: bytes


class Serializer(msgspec.Struct, frozen=True, array_like=True, tag=38):
    """Owner to executor: serialize instances of a class so from now on (or as ever again)."""

    #: ``(class, (serializer, deserializer) or None)``.
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


class Taken(msgspec.Struct, frozen=True, array_like=True, tag=39):
    """Owner to executor: the directory knows that the owner holds the refs inside these results."""

    results: list[bytes]


class Consumed(msgspec.Struct, frozen=True, array_like=True, tag=37):
    """Owner to executor: the reader has taken `count` values in all."""

    task: bytes
    count: int
