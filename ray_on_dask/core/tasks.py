"""An owner's tasks: which waits, which is queued, which is aboard which lease. Decisions only.

Calls come in, instructions go out; nothing here sends, sleeps or reads a clock.

Why tasks are pipelined: a lease's executor that is handed one task at a time idles for
a round trip between two. So a lease gets as many short tasks ahead as fill `AHEAD`
seconds, by the durations seen lately. That must never show, so a task that is aboard but
not started still counts as demand, and `tick` recalls it when it could start elsewhere.
"""

from __future__ import annotations

from ray_on_dask.core.task_records import (
    ABOARD as ABOARD,
    ENDED as ENDED,
    QUEUED as QUEUED,
    WAITING as WAITING,
    ClassOfTasks as ClassOfTasks,
    GiveBackLease as GiveBackLease,
    GiveUp as GiveUp,
    Instruction as Instruction,
    OwnedLease as OwnedLease,
    OwnedTask as OwnedTask,
    PushTasks as PushTasks,
    RecallTasks as RecallTasks,
    SendDemand as SendDemand,
)
from ray_on_dask.wire.messages import UNKNOWN, SchedulingClass

#: Seconds of work to keep aboard a lease.
AHEAD = 0.05
#: Most tasks to keep aboard a lease, however short they are.
DEPTH_MAX = 1000
#: Seconds after which tasks behind a running one are recalled if they could start elsewhere.
STUCK = 0.005
#: Seconds that an idle lease is kept.
LINGER = 0.05
#: Most leases that an owner asks for in one class.
WANTED_MAX = 10_000
#: Weight of the newest duration in the running mean.
NEWEST = 0.2


class Tasks:
    """The state machine of one owner's tasks.

    Every method that returns a list returns instructions for the shell, to be carried out in
    order. `now` is any clock that does not go backwards, in seconds.
    """

    def __init__(self) -> None:
        self.classes: dict[int, ClassOfTasks] = {}
        self.leases: dict[int, OwnedLease] = {}
        #: Every task that has not ended.
        self.tasks: dict[bytes, OwnedTask] = {}

    # -- tasks in ------------------------------------------------------------------

    def add_class(self, key: int, spec: SchedulingClass, slots: int = 1) -> None:
        """Make a scheduling class known; `slots` is how many of its tasks the cluster can run."""
        self.classes[key] = ClassOfTasks(key, spec, slots=max(1, slots))

    def submit(self, task: OwnedTask, now: float) -> list[Instruction]:
        """Take a task in; it is queued when its `missing` dependencies are there."""
        self.tasks[task.task.id] = task
        if task.missing:
            return []
        return self._enqueue(task, now)

    def dependency_ready(self, task: OwnedTask, now: float) -> list[Instruction]:
        """One of the dependencies that a task waits for is there."""
        task.missing -= 1
        if task.missing or task.state != WAITING:
            return []
        return self._enqueue(task, now)

    def _enqueue(self, task: OwnedTask, now: float) -> list[Instruction]:
        group = self.classes[task.key]
        task.state = QUEUED
        if task.urgent:
            group.queue.appendleft(task)
        else:
            group.queue.append(task)
        queued = len(group.queue)
        if group.leases:
            if group.aboard < len(group.leases) or not queued & 31:
                return self.fill(group, now) + self.demand(group)
            return []
        if queued == 1:
            return self._return_idle(group) + self.demand(group)
        return self.demand(group) if queued > group.wanted else []

    # -- leases --------------------------------------------------------------------

    def granted(self, lease: int, key: int, executor: str, now: float) -> list[Instruction]:
        """The control store gave a lease."""
        group = self.classes[key]
        owned = OwnedLease(lease, key, executor, progress=now)
        group.leases[lease] = self.leases[lease] = owned
        out = self.fill(group, now)
        if not owned.aboard:
            out += self._recall_for(group)
        return out

    def ended(self, lease: int, now: float) -> list[Instruction]:
        """The executor has ended the lease; what was aboard has been given back."""
        owned = self._forget(lease)
        if owned is None:
            return []
        group = self.classes[owned.key]
        for task in reversed(owned.aboard.values()):
            group.aboard -= 1
            self._requeue(task, group)
        owned.aboard.clear()
        return self.fill(group, now) + self.demand(group)

    def lost(self, lease: int, running: bytes, reason: str, now: float) -> list[Instruction]:
        """The executor died in task `running` (b"": in none): charge that one, requeue the rest."""
        owned = self._forget(lease)
        if owned is None:
            return []
        group = self.classes[owned.key]
        out: list[Instruction] = []
        aboard, owned.aboard = list(owned.aboard.values()), {}
        if running == UNKNOWN and aboard:
            running = aboard[0].task.id  # they run in order
        group.aboard -= len(aboard)
        for task in reversed(aboard):
            if task.task.id == running:
                out += self._charge(task, group, reason)
            else:
                self._requeue(task, group)
        return out + self.fill(group, now) + self.demand(group)

    def _charge(self, task: OwnedTask, group: ClassOfTasks, reason: str) -> list[Instruction]:
        if task.retries == 0:
            self.remove(task)
            return [GiveUp(task, reason)]
        if task.retries > 0:
            task.retries -= 1
        task.task.attempt += 1
        self._requeue(task, group)
        return []

    def _requeue(self, task: OwnedTask, group: ClassOfTasks) -> None:
        task.lease = None
        task.state = QUEUED
        group.queue.appendleft(task)

    def _forget(self, lease: int) -> OwnedLease | None:
        owned = self.leases.pop(lease, None)
        if owned is not None:
            group = self.classes[owned.key]
            del group.leases[lease]
        return owned

    def given_back(self, lease: int, ids: list[bytes], now: float) -> list[Instruction]:
        """The executor has not started these and will not."""
        owned = self.leases.get(lease)
        if owned is None:
            return []
        group = self.classes[owned.key]
        owned.recalled = 0
        for id in reversed(ids):
            task = owned.aboard.pop(id, None)
            if task is not None:
                group.aboard -= 1
                self._requeue(task, group)
        return self.fill(group, now, but=owned) + self.demand(group)

    def executor_blocked(self, lease: int) -> None:
        """The task that runs there waits for others: nothing more is sent till it ends."""
        owned = self.leases.get(lease)
        if owned is not None:
            owned.blocked = True

    # -- results ---------------------------------------------------------------------

    def finished(self, lease: int, id: bytes, seconds: float, now: float) -> OwnedTask | None:
        """A task has ended; None if it is none of ours any more (a stale message).

        The caller asks for `refill` when it has handed in all results of a message.
        """
        owned = self.leases.get(lease)
        if owned is None:
            return None
        task = owned.aboard.pop(id, None)
        if task is None:
            return None
        group = self.classes[owned.key]
        group.aboard -= 1
        group.seconds = (
            seconds if not group.seconds else (group.seconds + NEWEST * (seconds - group.seconds))
        )
        owned.progress = now
        owned.blocked = False
        task.lease = None
        task.state = ENDED
        del self.tasks[id]
        return task

    def again(self, task: OwnedTask, now: float) -> list[Instruction]:
        """Run a task that has ended once more (an exception that its options retry)."""
        if task.retries > 0:
            task.retries -= 1
        task.task.attempt += 1
        self.tasks[task.task.id] = task
        return self._enqueue(task, now)

    def refill(self, lease: int, now: float) -> list[Instruction]:
        """Send more to a lease that has delivered results."""
        owned = self.leases.get(lease)
        if owned is None:
            return []
        group = self.classes[owned.key]
        if group.queue:
            if len(owned.aboard) * 2 > self._depth(group):
                return []
            return self.fill(group, now)
        return [] if owned.aboard else self._recall_for(group)

    # -- sharing out -------------------------------------------------------------------

    def _depth(self, group: ClassOfTasks) -> int:
        if not group.seconds:
            return 1
        return max(1, min(DEPTH_MAX, int(AHEAD / (group.seconds + 2e-5))))

    def fill(
        self, group: ClassOfTasks, now: float, but: OwnedLease | None = None
    ) -> list[Instruction]:
        """Move queued tasks to leases with room, in even shares."""
        out: list[Instruction] = []
        queue, depth = group.queue, self._depth(group)
        sharers = max(len(group.leases), min(group.slots, group.wanted))
        for lease in (
            list(group.leases.values()) if len(group.leases) > 1 else group.leases.values()
        ):
            if not queue:
                break
            if lease.blocked or lease is but or (lease.aboard and now - lease.progress > STUCK):
                continue
            share = -(-(len(queue) + group.aboard) // sharers) if depth > 1 else 1
            room = min(depth, share) - len(lease.aboard)
            if room > 0:
                out.append(self._load(group, lease, min(room, len(queue)), now))
        return out

    def _load(self, group: ClassOfTasks, lease: OwnedLease, count: int, now: float) -> PushTasks:
        if not lease.aboard:
            lease.progress = now
        popleft, aboard = group.queue.popleft, lease.aboard
        batch = [popleft() for _ in range(count)]
        for task in batch:
            task.state = ABOARD
            task.lease = lease
            aboard[task.task.id] = task
        group.aboard += count
        return PushTasks(lease, batch)

    def flush(self, now: float) -> list[Instruction]:
        """Send all that can be sent: the owner is about to wait for it."""
        out: list[Instruction] = []
        for group in self.classes.values():
            if group.queue:
                out += self.fill(group, now)
                out += self.demand(group)
        return out

    def demand(self, group: ClassOfTasks) -> list[Instruction]:
        """Ask for more leases when the demand has doubled since the last word, or is new."""
        wanted = min(len(group.queue) + group.aboard, WANTED_MAX)
        urgent = group.urgent
        if wanted > group.wanted and (
            wanted >= 2 * group.wanted or group.wanted < len(group.leases) + 2
        ):
            group.wanted = wanted
            return [SendDemand(group.key, wanted, urgent)]
        return []

    def _recall_for(self, group: ClassOfTasks) -> list[Instruction]:
        """A lease has nothing to do: take half of what waits behind the fullest other one."""
        fullest = max(group.leases.values(), key=lambda lease: len(lease.aboard), default=None)
        if fullest is None or fullest.recalled or len(fullest.aboard) < 2:
            return []
        if group.seconds * (len(fullest.aboard) - 1) < STUCK and group.seconds:
            return []
        fullest.recalled = count = len(fullest.aboard) // 2
        return [RecallTasks(fullest.id, fullest.executor, count)]

    def _return_idle(self, but: ClassOfTasks) -> list[Instruction]:
        """Another class needs a lease: idle ones of other classes go back at once."""
        out: list[Instruction] = []
        for group in self.classes.values():
            if group is not but and group.leases and not group.queue:
                for lease in [lease for lease in group.leases.values() if not lease.aboard]:
                    out.append(self._give_back(lease))
        return out

    def _give_back(self, lease: OwnedLease) -> GiveBackLease:
        self._forget(lease.id)
        group = self.classes[lease.key]
        group.wanted = min(group.wanted, len(group.leases))  # as the control store takes it
        return GiveBackLease(lease.id, lease.executor)

    # -- time ----------------------------------------------------------------------------

    def tick(self, now: float) -> list[Instruction]:
        """To be called each 10 ms or so while there are leases or tasks."""
        out: list[Instruction] = []
        for group in self.classes.values():
            if group.queue:
                out += self.fill(group, now)
            if group.leases:
                out += self._unstick(group, now)
                out += self._linger(group, now)
            wanted = min(len(group.queue) + group.aboard, WANTED_MAX)
            if not wanted:
                group.urgent = False
            if wanted > group.wanted or wanted * 2 <= group.wanted:
                wanted = max(wanted, len(group.leases))
                if wanted != group.wanted:
                    group.wanted = wanted
                    out.append(SendDemand(group.key, wanted, group.urgent))
        return out

    def _unstick(self, group: ClassOfTasks, now: float) -> list[Instruction]:
        """Recall what waits behind a long task while another lease has nothing to do."""
        idle = [lease for lease in group.leases.values() if not lease.aboard]
        if not idle or group.queue:
            return []
        out: list[Instruction] = []
        for lease in group.leases.values():
            waiting = len(lease.aboard) - 1
            if waiting > 0 and not lease.recalled and now - lease.progress > STUCK:
                lease.recalled = waiting
                out.append(RecallTasks(lease.id, lease.executor, waiting))
        return out

    def _linger(self, group: ClassOfTasks, now: float) -> list[Instruction]:
        if group.queue:
            return []
        idle = [
            lease for lease in group.leases.values()
            if not lease.aboard and now - lease.progress > LINGER
        ]  # fmt: skip
        return [self._give_back(lease) for lease in idle]

    # -- cancelling, hurrying ---------------------------------------------------------------

    def remove(self, task: OwnedTask) -> None:
        """Take a task out wherever it waits; one that is aboard is only forgotten."""
        self.tasks.pop(task.task.id, None)
        if task.state == QUEUED:
            group = self.classes[task.key]
            if task in group.queue:
                group.queue.remove(task)
        elif (
            task.state == ABOARD
            and task.lease is not None
            and task.lease.aboard.pop(task.task.id, None) is not None
        ):
            self.classes[task.key].aboard -= 1
        task.lease = None
        task.state = ENDED

    def hurry(self, task: OwnedTask) -> list[Instruction]:
        """Somebody is blocked on this task: it goes to the front of its queue."""
        if task.urgent or task.state == ENDED:
            return []
        task.urgent = True
        group = self.classes[task.key]
        if task.state == QUEUED and len(group.queue) > 1 and group.queue[0] is not task:
            group.queue.remove(task)
            group.queue.appendleft(task)
        if group.urgent:
            return []
        group.urgent = True
        return [SendDemand(group.key, max(group.wanted, 1), True)] if group.wanted else []

    @property
    def busy(self) -> bool:
        """Whether `tick` has anything to look after."""
        return bool(self.leases) or bool(self.tasks)

    def validate(self) -> None:
        """Assert what must hold between any two calls."""
        for key, group in self.classes.items():
            assert group.aboard == sum(len(lease.aboard) for lease in group.leases.values())
            for task in group.queue:
                assert task.state == QUEUED and task.key == key and task.lease is None
                assert self.tasks.get(task.task.id) is task
            for lease in group.leases.values():
                assert self.leases[lease.id] is lease and lease.key == key
                for id, task in lease.aboard.items():
                    assert task.state == ABOARD and task.lease is lease and task.task.id == id
        assert sum(len(group.leases) for group in self.classes.values()) == len(self.leases)
        for task in self.tasks.values():
            assert task.state != ENDED
            assert (task.missing > 0) == (task.state == WAITING)
