"""What the control store does about placement groups beyond their own state."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ray_on_dask.core import instructions as i
from ray_on_dask.core.group_record import EndUser
from ray_on_dask.core.lease_records import Demand
from ray_on_dask.core.resources import group_of
from ray_on_dask.wire import messages as m

if TYPE_CHECKING:
    from ray_on_dask.core.control import ControlStore

Out = list[Any]


class GroupHandlers:
    """Joins placement groups with tasks, actors and jobs."""

    def __init__(self, store: ControlStore) -> None:
        self.store = store

    def table(self) -> dict[type, Callable[[str, Any, float], Out]]:
        """What handles which message."""
        return {
            m.CreateGroup: self.create,
            m.RemoveGroup: lambda who, msg, now: self.store.groups.remove(msg.id, now),
            m.WatchGroup: lambda who, msg, now: self.store.groups.watch(who, msg.id),
        }

    def create(self, sender: str, msg: m.CreateGroup, now: float) -> Out:
        """A process wants a group."""
        member = self.store.members.get(sender)
        return self.store.groups.create(sender, member.job if member else 0, msg, now)

    def end_user(self, what: EndUser, now: float) -> Out:
        """A group is gone: end what runs in it or waits for it."""
        demand = self.store.leases.demands.get(what.key)
        if demand is None:
            return []
        if demand.lifetime is not None:
            return self.end_actor(what.key[0], what.group, bool(demand.leases), now)
        owner, number = what.key
        out: Out = [i.Send(owner, m.LeaseFailed(number, what.error))]
        out += self.store.leases.demand(owner, number, 0, now)
        return out + self._end_leases(demand, what.group, now)

    def _end_leases(self, demand: Demand, group: str, now: float) -> Out:
        out: Out = []
        for lease in list(demand.leases.values()):
            if lease.executor:
                reason = f"its placement group {group} was removed"
                out.append(i.Send(lease.node.name, m.KillLease(lease.id, reason)))
            else:
                out += self.store._end(lease.id, now)
        return out

    def refuse_actor(self, owner: str, want: i.WantActor, now: float) -> Out:
        """The end of an actor that wants a group that is gone, nothing if it may wait."""
        if not self.store.groups.entered((owner, want.incarnation), want.placement):
            return []
        return self.end_actor(owner, group_of(want.placement), False, now)

    def end_actor(self, owner: str, group: str, placed: bool, now: float) -> Out:
        """An actor's group is gone (`owner` is its name among demands)."""
        actors, actor = self.store.actors, bytes.fromhex(owner.removeprefix("actor:"))
        if placed:
            text = f"its placement group {group} was removed"
            return list(actors.kill("", m.KillActor(actor, True, text), now))
        text = f"its placement group {group} was removed before it could be placed"
        error = self.store.make_error("ActorUnschedulableError", {"message": text})
        return list(actors.unplaceable(actor, error, now))
