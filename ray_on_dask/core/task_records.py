"""What an owner keeps of its tasks and leases, and what it can be told to do about them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from ray_on_dask.wire.messages import SchedulingClass, Task

WAITING, QUEUED, ABOARD, ENDED = range(4)


class OwnedTask:
    """One task at its owner.

    Parameters
    ----------
    task : Task
        What is sent to the executor.
    key : int
        Its scheduling class.
    retries : int
        Further attempts that it has after a crash; -1 for no end.
    """

    __slots__ = ("key", "lease", "missing", "retries", "returns", "state", "task", "urgent")

    def __init__(self, task: Task, key: int, retries: int, returns: Any = None):
        self.task = task
        self.key = key
        self.retries = retries
        #: What the shell completes when the task has ended.
        self.returns = returns
        #: Dependencies that are not there yet.
        self.missing = 0
        self.state = WAITING
        self.lease: OwnedLease | None = None
        self.urgent = False


@dataclass(slots=True)
class PushTasks:
    """Send these tasks to the lease's executor."""

    lease: OwnedLease
    tasks: list[OwnedTask]


@dataclass(slots=True, frozen=True)
class RecallTasks:
    """Ask the executor for `count` tasks that it has not started."""

    lease: int
    executor: str
    count: int


@dataclass(slots=True, frozen=True)
class SendDemand:
    """Tell the control store how many leases of the class are wanted in all."""

    key: int
    wanted: int
    urgent: bool


@dataclass(slots=True, frozen=True)
class GiveBackLease:
    """Return the lease: no task is aboard."""

    lease: int
    executor: str


@dataclass(slots=True, frozen=True)
class GiveUp:
    """The task will not be tried again; `running` says if it was the one that the crash hit."""

    task: OwnedTask
    reason: str


Instruction = PushTasks | RecallTasks | SendDemand | GiveBackLease | GiveUp


@dataclass(slots=True, eq=False)
class OwnedLease:
    """A lease at its owner."""

    id: int
    key: int
    executor: str
    #: Tasks that were sent and have not ended, in the order of sending: the first may be running.
    aboard: dict[bytes, OwnedTask] = field(default_factory=dict)
    #: When its executor last showed progress, or was given something to do when idle.
    progress: float = 0.0
    #: Its executor gave tasks back because the running one blocks: send it nothing till that ends.
    blocked: bool = False
    #: Tasks asked back and not answered for.
    recalled: int = 0


@dataclass(slots=True, eq=False)
class ClassOfTasks:
    """All that an owner has of one scheduling class."""

    key: int
    spec: SchedulingClass
    queue: deque[OwnedTask] = field(default_factory=deque)
    leases: dict[int, OwnedLease] = field(default_factory=dict)
    #: Running mean of the seconds a task takes; 0 when none has ended yet.
    seconds: float = 0.0
    #: Tasks aboard all leases.
    aboard: int = 0
    #: What the control store was last told.
    wanted: int = 0
    urgent: bool = False
    #: How many leases the cluster could grant at once, as far as known: tasks are shared out so.
    slots: int = 1
