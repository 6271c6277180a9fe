"""What the control store does about actors beyond their life: leases, refs held for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ray_on_dask.core import instructions as i
from ray_on_dask.core.lease_records import Demand
from ray_on_dask.core.resources import UNITS
from ray_on_dask.wire import messages as m

if TYPE_CHECKING:
    from ray_on_dask.core.control import ControlStore

Out = list[Any]

#: Seconds after which people are told of an actor that waits for what others hold.
PATIENCE = 10.0
#: Seconds between two looks for such actors.
LOOK_EVERY = 1.0


class ActorHandlers:
    """Joins actors with jobs, leases and the directory."""

    def __init__(self, store: ControlStore) -> None:
        self.store = store
        self._looked = 0.0
        #: Demands of waiting actors of which people have been told.
        self._told: set[str] = set()

    def table(self) -> dict[type, Callable[[str, Any, float], Out]]:
        """What handles which message."""
        actors = self.store.actors
        return {
            m.CreateActor: self.create,
            m.ActorReady: actors.ready,
            m.WatchActor: lambda who, msg, now: actors.watch(who, msg),
            m.KillActor: actors.kill,
            m.ActorExiting: actors.exiting,
            m.ActorStillborn: self.stillborn,
            m.SaveCheckpoint: lambda who, msg, now: actors.save_checkpoint(who, msg),
        }

    def create(self, sender: str, msg: m.CreateActor, now: float) -> Out:
        """A process makes an actor."""
        member = self.store.members.get(sender)
        return list(self.store.actors.create(sender, member.job if member else 0, msg, now))

    def stillborn(self, sender: str, msg: m.ActorStillborn, now: float) -> Out:
        """A process would make an actor, but an argument of it has failed."""
        facts = {"message": "", "actor_id": msg.spec.id.hex(), "cause": msg.error}
        error = self.store.make_error("ActorDiedError", facts)
        out = self.create(sender, m.CreateActor(msg.spec), now)
        return out + list(self.store.actors.unplaceable(msg.spec.id, error, now))

    def want(self, want: i.WantActor, now: float) -> Out:
        """An actor is to be placed: that is a demand for one lease."""
        spec = m.SchedulingClass(want.placement, want.strategy, want.runtime_env, name=want.name)
        owner = f"actor:{want.actor.hex()}"
        refusal = self.store.group_handlers.refuse_actor(owner, want, now)
        if refusal:
            return refusal
        return list(
            self.store.leases.demand(
                owner, want.incarnation, 1, now, spec=spec,
                home=self.store.node_of(want.owner), lifetime=want.lifetime,
            )
        )  # fmt: skip

    def cancel(self, actor: bytes, now: float) -> Out:
        """It need not be placed any more."""
        owner = f"actor:{actor.hex()}"
        out: Out = []
        for key in [key for key in self.store.leases.demands if key[0] == owner]:
            lease = self.store.leases.cancel(*key)
            if lease is not None:
                out += self.store._end(lease.id, now)
        return out

    def tick(self, now: float) -> Out:
        """Tell the drivers of actors that have waited long, once each, of what is missing."""
        if now - self._looked < LOOK_EVERY:
            return []
        self._looked = now
        out: Out = []
        waiting = {
            demand.owner: demand
            for demand in self.store.leases.lacking
            if demand.lifetime is not None and not (demand.within or demand.infeasible)
        }
        self._told &= waiting.keys()
        for owner, demand in waiting.items():
            if owner in self._told or now - demand.since < PATIENCE:
                continue
            self._told.add(owner)
            job = self.store.jobs.get(self.store.actors.job_of(bytes.fromhex(owner[6:])) or 0)
            if job is not None:
                out.append(i.Send(job.driver, m.Infeasible(demand.spec.name, self._lacks(demand))))
        return out

    def _lacks(self, demand: Demand) -> str:
        ledgers = [node.ledger for node in self.store.leases.nodes.values()]
        lacking = [
            f"{name}: {units / UNITS:g} wanted, at most "
            f"{max((ledger.free.get(name, 0) for ledger in ledgers), default=0) / UNITS:g} free"
            for name, units in demand.takes.items()
        ]
        return (
            f"The actor {demand.spec.name} has been waiting for {PATIENCE:g} s, for what others "
            f"hold: on one node, {'; '.join(lacking) or 'no room'}."
        )

    def hold_for(self, what: i.HoldFor) -> Out:
        """The refs in an actor's checkpoint are held in its name, not in that of a process."""
        directory, holder = self.store.directory, f"checkpoint of {what.actor.hex()}"
        out: Out = []
        for id in what.taken:
            out += directory.hold(m.Hold(id, holder))
        if what.released:
            out += directory.release(holder, m.Release([(id, 1) for id in what.released]))
        return out
