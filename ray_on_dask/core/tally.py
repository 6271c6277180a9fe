"""What executors have said of their work: calls done, failed and waiting, of each and each actor;
what they have printed, and how they ended.

Executors tell it in the batches in which they tell what ran, so it is some tenths of a second old.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ray_on_dask.core.log_tail import LogTails
from ray_on_dask.core.members import Member
from ray_on_dask.wire.messages import Lost, TaskEvents

#: Actors that are remembered; the oldest go first.
ACTORS_MAX = 20_000
#: Processes that are gone and remembered.
DEPARTED_MAX = 1_000


@dataclass(slots=True)
class Work:
    """How much of it there was and is."""

    done: int = 0
    failed: int = 0
    #: Aboard and not begun; of asynchronous and threaded actors also what runs.
    waiting: int = 0


class Tally:
    """Adds up, by process and by actor; an actor's numbers outlive its restarts.

    Parameters
    ----------
    actor_of : mapping
        {executor: the actor that it is}, kept by others.
    """

    def __init__(self, actor_of: Mapping[str, bytes]) -> None:
        self.actor_of = actor_of
        self.processes: dict[str, Work] = {}
        self.actors: OrderedDict[bytes, Work] = OrderedDict()
        #: What executors have printed.
        self.logs = LogTails()
        #: Facts about the latest drivers and executors that are gone, the oldest first.
        self.departed: deque[dict[str, Any]] = deque(maxlen=DEPARTED_MAX)

    def ran(self, process: str, events: TaskEvents) -> None:
        """A living executor says what it has run."""
        done = sum(number for number, _, _ in events.counts.values())
        failed = sum(failures for _, _, failures in events.counts.values())
        works = [self.processes.setdefault(process, Work())]
        actor = self.actor_of.get(process)
        if actor is not None:
            works.append(self._of_actor(actor))
        for work in works:
            work.done += done
            work.failed += failed
            work.waiting = events.waiting

    def _of_actor(self, actor: bytes) -> Work:
        work = self.actors.get(actor)
        if work is None:
            work = self.actors[actor] = Work()
            if len(self.actors) > ACTORS_MAX:
                self.actors.popitem(last=False)
        return work

    def process_lost(self, member: Member | None, message: Lost, now: float) -> None:
        """It is gone, and nothing waits there any more; called while it still has its actor."""
        process = message.process
        actor = self.actor_of.get(process, b"")
        self.processes.pop(process, None)
        work = self.actors.get(actor)
        if work is not None:
            work.waiting = 0
        if member is not None:
            self.departed.append(
                {
                    "name": process, "kind": member.kind, "node": member.node, "pid": member.pid,
                    "job": member.job, "actor": actor.hex(), "ended": now,
                    "reason": message.reason, "status": message.status,
                }
            )  # fmt: skip
