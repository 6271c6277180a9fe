"""The control store: leases, refs and actors of one cluster, put together.

Messages come in with the name of their sender, `Send`s go out; a few other instructions are for
the plugin around it. It reads no clock and does no I/O.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from ray_on_dask.core import instructions as i, leases as ls
from ray_on_dask.core.actor_handlers import ActorHandlers
from ray_on_dask.core.actors import Actors
from ray_on_dask.core.copies import Copies, of_owner
from ray_on_dask.core.directory import Directory
from ray_on_dask.core.for_people import ForPeople
from ray_on_dask.core.gateways import Gateways
from ray_on_dask.core.group_handlers import GroupHandlers
from ray_on_dask.core.group_record import EndUser
from ray_on_dask.core.members import (
    Blocked,
    Job as Job,
    Member as Member,
    NodeFacts as NodeFacts,
    Record as Record,
    across_hosts,
)
from ray_on_dask.core.placement import PlacementGroups
from ray_on_dask.core.questions import Questions
from ray_on_dask.core.shunned import Shunned
from ray_on_dask.core.tally import Tally
from ray_on_dask.wire import messages as m

#: Seconds after its end in which a process's last messages may still come in on other lines.
LAPSE = 1.0
#: Seconds in which those have their copies ready to whom a node that retires has handed objects;
#: and where all that it had was elsewhere before it went, for what came in the last moment.
HANDED_OVER, LAST_MOMENT = 3.0, 0.5


Out = list[Any]


class ControlStore:
    """The state machine of the cluster.

    Parameters
    ----------
    make_error : callable
        `make_error(kind, facts)` gives a pickled exception of class `kind`.
    """

    def __init__(self, make_error: Callable[[str, dict[str, Any]], bytes]) -> None:
        self.make_error = make_error
        self.members: dict[str, Member] = {}
        self.jobs: dict[int, Job] = {}
        self.nodes: dict[str, NodeFacts] = {}
        self.leases = ls.Leases()
        self.directory = Directory(make_error)
        self.copies = Copies()
        self.gateways = Gateways(self)
        #: {node that is about to go, its objects are on their way to others: seconds for the rest}.
        self.retiring: dict[str, float] = {}
        #: {such a node that is gone: when what it has not handed over is lost, why}.
        self.leaving: dict[str, tuple[float, str]] = {}
        self.shunned = Shunned(self.leases)
        self.actors = Actors(make_error, self._job_config)
        self.groups = PlacementGroups(self.leases, make_error)
        self.group_handlers = GroupHandlers(self)
        self.actor_handlers = ActorHandlers(self)
        self.tally = Tally(self.actors._by_process)
        self.questions = Questions(self)
        #: Further questions that the plugin around it answers: ``{what: answer(sender, **args)}``.
        self.extra: dict[str, Callable[..., Any]] = {}
        #: {executor: leases that it serves}.
        self.serving: dict[str, set[int]] = {}
        self._lapsing: deque[tuple[float, str]] = deque()
        #: {lease: (actor, incarnation)} of leases for actors.
        self._for_actor: dict[int, tuple[bytes, int]] = {}
        self._handlers: dict[type, Callable[[str, Any, float], Iterable[Any]]] = {
            m.Demand: self._demand,
            m.LeaseStarted: self._lease_started,
            m.ReturnLease: self._return_lease,
            m.LeaseEnded: lambda who, msg, now: self._end(msg.lease, now),
            m.Blocked: lambda who, msg, now: self.leases.blocked(msg.lease, now),
            m.Unblocked: self._unblocked,
            m.Promote: lambda who, msg, now: self.directory.promote(who, msg),
            m.Resolve: lambda who, msg, now: self.directory.resolve(who, msg),
            m.Hold: lambda who, msg, now: self.directory.hold(msg),
            m.Release: lambda who, msg, now: self.directory.release(who, msg),
            m.Subscribe: lambda who, msg, now: self.directory.subscribe(who, msg),
            m.FreeObjects: lambda who, msg, now: self.copies.free(msg, self.nodes),
            m.Unheard: lambda who, msg, now: [i.Send(msg.owner, msg)],
            m.Unwanted: lambda who, msg, now: [i.Send(msg.node, msg)],
            m.Copied: lambda who, msg, now: self.copies.copied(who, msg),
            m.Unreachable: self.shunned.said,
            m.CopiesFreed: lambda who, msg, now: self.copies.freed(who, msg),
            m.WaitingFor: lambda who, msg, now: self.directory.waiting_for(who, msg),
            m.FreeRefs: lambda who, msg, now: self.directory.free(msg),
            m.Missing: lambda who, msg, now: self.directory.missing(msg),
            m.Sync: lambda who, msg, now: [i.Send(who, m.Synced(msg.token))],
            m.Ask: lambda who, msg, now: self.questions.answer(who, msg, now),
            **ForPeople(self).table(),
            **self.group_handlers.table(),
            **self.actor_handlers.table(),
        }

    # -- messages ----------------------------------------------------------------------

    def handle(self, sender: str, message: Any, now: float) -> Out:
        """Take one message in; what is to be sent and done."""
        handler = self._handlers.get(type(message))
        if handler is None:
            return []
        return self._settle(list(handler(sender, message, now)), now)

    def _settle(self, out: Out, now: float) -> Out:
        """Carry out instructions from one part that are for another; the rest goes out."""
        done: Out = []
        todo = deque(out)
        while todo or self.groups.due(now):
            if not todo:
                todo.extend(self.groups.work(now))
                continue
            what = todo.popleft()
            kind = type(what)
            if kind is i.Send:
                done.append(across_hosts(what, self.node_of(what.to), self.nodes))
            elif kind is Record:
                done.append(what)
            elif kind is ls.Grant:
                todo.extend(self._grant(what.lease, now))
            elif kind is ls.CallBack:
                executor = what.lease.executor
                done.append(i.Send(executor, m.EndLease(what.lease.id)))
            elif kind is ls.Unplaceable:
                todo.extend(self._unplaceable(what, now))
            elif kind is i.HandlesGone:
                todo.extend(self.actors.handles_gone(what.actor))
            elif kind is i.WantActor:
                todo.extend(self.actor_handlers.want(what, now))
            elif kind is i.CancelActorLease:
                todo.extend(self.actor_handlers.cancel(what.actor, now))
            elif kind is i.HoldFor:
                todo.extend(self.actor_handlers.hold_for(what))
            elif kind is EndUser:
                todo.extend(self.group_handlers.end_user(what, now))
            elif kind is i.ReleaseLease:
                self._for_actor.pop(what.lease, None)
                todo.extend(self._end(what.lease, now))
        return done

    def node_of(self, process: str) -> str:
        """The node that a process is at; a node is at itself."""
        member = self.members.get(process)
        return member.node if member is not None else process

    def _job_config(self, job: int) -> m.JobConfig:
        found = self.jobs.get(job)
        return found.config if found is not None else m.JobConfig()

    # -- members -------------------------------------------------------------------------

    def node_up(self, facts: NodeFacts, now: float) -> Out:
        """A node has joined."""
        facts.started = now
        self.nodes[facts.name] = facts
        labels = {"ray.io/node-id": facts.name, **facts.labels}
        self.groups.node_joined()
        return self._settle(
            list(self.leases.add_node(facts.name, facts.resources, now, labels)), now
        )

    def node_down(self, name: str, reason: str, now: float) -> Out:
        """A node is gone, with all its processes."""
        facts = self.nodes.get(name)
        if facts is None or not facts.alive:
            return []
        facts.alive, facts.reason, facts.ended = False, reason, now
        gone = self.leases.remove_node(name, now)
        out: Out = self.groups.node_lost(name, now)
        for member in [x for x in self.members.values() if x.node == name]:
            out += self.lost(m.Lost(member.name, f"its node died ({reason})"), now)
        for lease in gone:
            word = m.LeaseLost(lease.id, f"its node died ({reason})", m.UNKNOWN)
            out.append(i.Send(lease.demand.owner, word))
        out += self.actors.node_lost(name, now, reason)
        # Last: by then owners know what has become of actors and leases.
        if name in self.retiring:
            self.leaving[name] = (now + self.retiring.pop(name), reason)
        else:
            out += self._objects_lost(name, reason)
        return self._settle(out, now)

    def _objects_lost(self, name: str, reason: str) -> Out:
        moved = self.copies.node_lost(name)
        out: Out = list(self.directory.node_lost(name, moved))
        return out + [i.Send(process, m.NodeLost(name, reason, of_owner(moved, process)))
                      for process in self.members]  # fmt: skip

    def joined(self, node: str, hello: m.Hello, now: float) -> tuple[Out, Member]:
        """A driver or executor has said hello to its node."""
        member = Member(hello.process, hello.kind, node, hello.pid, 0, hello.address)
        self.members[hello.process] = member
        if hello.kind == "driver":
            number = len(self.jobs) + 1
            member.job = number
            self.jobs[number] = Job(
                number, hello.process, hello.job or m.JobConfig(), now, 0.0, hello.pid, node
            )
        return [], member

    def lost(self, message: m.Lost, now: float) -> Out:
        """A process is gone."""
        name = message.process
        member = self.members.pop(name, None)
        out: Out = []
        for id in self.serving.pop(name, ()):
            lease = self.leases.leases.get(id)
            if lease is not None and id not in self._for_actor:
                word = m.LeaseLost(id, message.reason, message.running, message.status)
                out.append(i.Send(lease.demand.owner, word))
                out += self.leases.ended(id, now)
        for lease in self.leases.forget_owner(name):
            out.append(i.Send(lease.executor or lease.node.name, m.EndLease(lease.id)))
        self.tally.process_lost(member, message, now)
        out += self.actors.process_lost(name, message.reason, message.status, now)
        self.groups.process_lost(name)
        self._lapsing.append((now + LAPSE, name))
        if member is not None and member.kind == "driver":
            out += self._end_job(member.job, now)
        return self._settle(out, now)

    def _end_job(self, number: int, now: float) -> Out:
        job = self.jobs.get(number)
        if job is None or job.ended:
            return []
        job.ended = now
        out: Out = [*self.actors.job_ended(number, now), *self.groups.job_ended(number, now)]
        keep = {actor["job"] for actor in self.actors.actors() if actor["state"] != "DEAD"}
        if number not in keep:
            out += [i.Send(node, m.JobEnded(number)) for node in self.nodes]
        return out

    # -- leases -----------------------------------------------------------------------------

    def _demand(self, sender: str, msg: m.Demand, now: float) -> Out:
        if sender not in self.members:
            return []  # it is dead: its last words came after the news of its end
        refusal = self.groups.refuses(sender, msg)
        if refusal:
            return [i.Send(sender, m.LeaseFailed(msg.class_id, refusal))]
        home = self.node_of(sender)
        out = self.leases.demand(
            sender, msg.class_id, msg.wanted, now, spec=msg.spec, home=home,
            urgent=msg.urgent, locality=msg.locality or None,
        )  # fmt: skip
        if msg.names and (sender, msg.class_id) in self.leases.demands:
            self.leases.demands[sender, msg.class_id].names = msg.names
        return list(out)

    def _grant(self, lease: ls.Lease, now: float) -> Out:
        if lease.demand.lifetime is not None:
            actor, incarnation = bytes.fromhex(lease.demand.owner[6:]), lease.demand.key[1]
            self._for_actor[lease.id] = (actor, incarnation)
            return list(self.actors.placed(actor, lease.node.name, lease.id))
        job = self._job_of(lease)
        return [
            i.Send(
                lease.node.name,
                m.StartLease(
                    lease.id, lease.demand.owner, job, self._job_config(job), lease.demand.spec,
                    lease.demand.key[1],
                ),
            )
        ]  # fmt: skip

    def _job_of(self, lease: ls.Lease) -> int:
        if lease.id in self._for_actor:
            return self.actors.job_of(self._for_actor[lease.id][0]) or 0
        member = self.members.get(lease.demand.owner)
        return member.job if member is not None else 0

    def _lease_started(self, sender: str, msg: m.LeaseStarted, now: float) -> Out:
        lease = self.leases.leases.get(msg.lease)
        if lease is None:
            return [i.Send(msg.executor, m.EndLease(msg.lease))] if msg.executor else []
        if msg.error:
            return self._not_started(lease, msg.error, now)
        lease.executor = msg.executor
        if msg.executor in self.members:
            self.members[msg.executor].job = self._job_of(lease)
        self.serving.setdefault(msg.executor, set()).add(lease.id)
        if lease.id in self._for_actor:
            return list(self.actors.started(*self._for_actor[lease.id], msg.executor, msg.address,
                                            msg.pid))  # fmt: skip
        owner = lease.demand.owner
        if owner not in self.members or lease.ending:
            return [i.Send(msg.executor, m.EndLease(lease.id))]
        granted = m.Granted(lease.id, lease.demand.key[1], msg.executor, msg.address, sender)
        return [i.Send(owner, granted)]

    def _not_started(self, lease: ls.Lease, reason: str, now: float) -> Out:
        error = self.make_error("RuntimeEnvSetupError", {"message": reason})
        if lease.id in self._for_actor:
            return list(self.actors.unplaceable(self._for_actor[lease.id][0], error, now))
        owner, number = lease.demand.key
        self.leases.demand(owner, number, 0, now)  # else the same would be tried for ever
        out: Out = [i.Send(owner, m.LeaseFailed(number, error))]
        return out + self._end(lease.id, now)

    def _return_lease(self, sender: str, msg: m.ReturnLease, now: float) -> Out:
        lease = self.leases.leases.get(msg.lease)
        if lease is None or lease.demand.owner != sender:
            return []
        out: Out = [i.Send(lease.node.name, m.EndLease(lease.id))]
        demand = lease.demand
        demand.wanted = max(0, min(demand.wanted, len(demand.leases) - 1))
        return out + self._end(lease.id, now)

    def _end(self, id: int, now: float) -> Out:
        lease = self.leases.leases.get(id)
        if lease is not None and lease.executor:
            self.serving.get(lease.executor, set()).discard(id)
        return list(self.leases.ended(id, now))

    def _unblocked(self, sender: str, msg: m.Unblocked, now: float) -> Out:
        lease, member = self.leases.leases.get(msg.lease), self.members.get(sender)
        self.leases.unblocked(msg.lease)
        if lease is None or member is None or not lease.lent_at:
            return []
        span = Blocked(member.pid, now - lease.lent_at)
        return [Record(span, member.node, member.job)]

    def _unplaceable(self, what: ls.Unplaceable, now: float) -> Out:
        demand = what.demand
        owner = demand.owner
        if demand.within:
            return []  # it waits for its placement group, of which people are told
        if demand.lifetime is not None:
            actor = self.actors.job_of(bytes.fromhex(owner[6:]))
            job = self.jobs.get(actor) if actor is not None else None
            owner = job.driver if job is not None else ""
        text = f"{demand.what or 'A task'} cannot be scheduled on this cluster: {what.text}."
        if not what.fail:
            text += " It waits for a node that has what it needs."
        if what.fail and demand.lifetime is not None:
            error = self.make_error("ActorUnschedulableError", {"message": text})
            return list(self.actors.unplaceable(bytes.fromhex(demand.owner[6:]), error, now))
        if what.fail:
            error = self.make_error("TaskUnschedulableError", {"message": text})
            return [i.Send(owner, m.LeaseFailed(demand.key[1], error))]
        return [i.Send(owner, m.Infeasible(demand.what, text))]

    # -- the rest ---------------------------------------------------------------------------------

    def tick(self, now: float) -> Out:
        """To be called each 100 ms or so."""
        out: Out = []
        gone: list[str] = []
        while self._lapsing and self._lapsing[0][0] <= now:
            gone.append(self._lapsing.popleft()[1])
            out += self.directory.process_lost(gone[-1])
        out += self._free_of(gone)
        for name in [x for x, (when, _) in self.leaving.items() if when <= now]:
            out += self._objects_lost(name, self.leaving.pop(name)[1])
        self.shunned.tick(now)
        if self.leases.lacking:
            out += self.leases.tick(now)
            out += self.actor_handlers.tick(now)
        out += self.groups.tick(now)
        return self._settle(out, now)

    def _free_of(self, gone: list[str]) -> Out:
        """Have the nodes free what only these dead processes knew."""
        names = {bytes.fromhex(name): name for name in gone if len(name) == 16}
        keep: dict[bytes, list[bytes]] = {name: [] for name in names}
        for id in self.directory.known_of(set(names)) if names else ():
            keep[id[:8]].append(id)
        return [
            i.Send(node.name, m.OwnerGone(name, keep[binary]))
            for binary, name in names.items()
            for node in self.nodes.values()
            if node.alive
        ]

    def validate(self) -> None:
        """Assert what must hold between any two calls."""
        self.leases.validate()
        self.directory.validate()
        self.actors.validate()
        self.groups.validate()
