"""The cluster as people look at it: who has what, who runs what, who waits and why.

Read by the dashboard, the metrics and the command line; nothing here changes anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ray_on_dask.core.lease_records import Demand, Lease, Node
from ray_on_dask.core.resources import CPU, as_floats, from_units, group_of
from ray_on_dask.core.tally import Work

if TYPE_CHECKING:
    from ray_on_dask.core.control import ControlStore

#: Demands that are listed, the neediest first.
DEMANDS_MAX = 1_000


def nodes(store: ControlStore) -> list[dict[str, Any]]:
    """The living nodes, with what each has, has given away, and has got lent."""
    out = []
    for facts in store.nodes.values():
        node = store.leases.nodes.get(facts.name)
        if not facts.alive or node is None:
            continue
        out.append(
            {
                "name": facts.name, "address": facts.address, "ip": facts.ip,
                "hostname": facts.hostname, "pid": facts.pid, "head": facts.head,
                "draining": node.draining, "labels": facts.labels, **_ledger(node),
            }
        )  # fmt: skip
    return out


def _ledger(node: Node) -> dict[str, Any]:
    total, free = node.ledger.total, node.ledger.free
    lent: dict[str, int] = {}
    for lease in node.leases.values():
        for name, units in lease.lent.items():
            lent[name] = lent.get(name, 0) + units
    return {
        "total": {name: from_units(units) for name, units in total.items()},
        "free": {name: from_units(free.get(name, 0)) for name in total},
        "lent": as_floats(lent),
        "dask": from_units(node.ledger.external),
    }


def executors(store: ControlStore) -> list[dict[str, Any]]:
    """The executors, with the function or the actor that each is there for."""
    leases = {lease.executor: lease for lease in store.leases.leases.values() if lease.executor}
    actors = {x["process"]: x for x in store.actors.actors() if x["process"]}
    return [
        {
            "name": x.name, "node": x.node, "pid": x.pid, "job": x.job,
            **_purpose(leases.get(x.name), actors.get(x.name)),
            **_work(store.tally.processes.get(x.name)),
        }
        for x in store.members.values()
        if x.kind == "executor"
    ]  # fmt: skip


def _purpose(lease: Lease | None, actor: dict[str, Any] | None) -> dict[str, Any]:
    if actor is not None:
        what, state = actor["class_name"], "actor"
    elif lease is not None:
        what, state = lease.demand.what, "blocked" if lease.lent else "leased"
    else:
        what, state = "", "idle"
    return {
        "what": what, "state": state, "actor": actor["actor_id"] if actor else "",
        "holds": as_floats(lease.held) if lease is not None else {},
    }  # fmt: skip


def _work(work: Work | None) -> dict[str, int]:
    work = work or Work()
    return {"done": work.done, "failed": work.failed, "waiting": work.waiting}


def actors(store: ControlStore) -> list[dict[str, Any]]:
    """The actors, the latest dead ones too, with the calls that each has done and has waiting."""
    works = store.tally.actors
    return [{**x, **_work(works.get(bytes.fromhex(x["actor_id"])))} for x in store.actors.actors()]


def runtime_envs(store: ControlStore) -> list[dict[str, Any]]:
    """The runtime environments in use, as JSON, with the number of leases and actors in each."""
    found: dict[tuple[str, str], int] = {}
    for lease in store.leases.leases.values():
        job = store.jobs.get(_job(store, lease.demand))
        env = lease.demand.spec.runtime_env or (job.config.runtime_env if job else "")
        if env:
            key = (env, lease.node.name)
            found[key] = found.get(key, 0) + 1
    for job in store.jobs.values():
        if job.config.runtime_env and not job.ended:
            found.setdefault((job.config.runtime_env, job.node), 0)
    return [{"env": env, "node": node, "uses": uses} for (env, node), uses in found.items()]


# -- who waits ---------------------------------------------------------------------------


def demands(store: ControlStore, now: float) -> list[dict[str, Any]]:
    """What is wanted and has not been granted, with the reason, the longest wait first."""
    lacking = sorted(store.leases.lacking, key=lambda demand: demand.since)[:DEMANDS_MAX]
    return [
        {
            "what": demand.what or "task", "kind": _kind(demand),
            "job": _job(store, demand), "wanted": demand.lacks, "granted": len(demand.leases),
            "resources": as_floats(demand.needs), "strategy": demand.spec.strategy,
            "seconds": max(0.0, now - demand.since), "urgent": demand.urgent,
            "why": why(store, demand),
        }
        for demand in lacking
    ]  # fmt: skip


def _kind(demand: Demand) -> str:
    return "task" if demand.lifetime is None else "actor"


def _job(store: ControlStore, demand: Demand) -> int:
    if demand.lifetime is not None and demand.owner.startswith("actor:"):
        return store.actors.job_of(bytes.fromhex(demand.owner[6:])) or 0
    member = store.members.get(demand.owner)
    return member.job if member is not None else 0


def why(store: ControlStore, demand: Demand) -> str:
    """Why a demand waits, in words."""
    leases = store.leases
    if not leases.nodes:
        return "the cluster has no node"
    never = leases.policy.why_not(demand, leases.nodes)
    group = group_of(demand.spec.resources)
    if group and never:
        return f"its placement group {group[:8]} is not placed, or has less than it wants"
    if never:
        return f"no node has it: {never}"
    able = leases.policy.able(demand, leases.nodes)
    if all(node.draining for node in able):
        return "the nodes that could serve it are about to leave"
    if demand.reserves is not None:
        return f"what comes free on node {demand.reserves.name[:8]} is kept for it"
    return _occupied(demand, able)


def _occupied(demand: Demand, able: list[Node]) -> str:
    """The resource of which too little is free, on the node that has most of it."""
    for name, units in demand.takes.items():
        free = [x.ledger.free.get(name, 0) - (x.ledger.external if name == CPU else 0)
                for x in able]  # fmt: skip
        if units > max(free):
            best = max(0, *free) if len(free) > 1 else max(0, free[0])
            return f"{name} is in use: {units / 10_000:g} wanted, {best / 10_000:g} free"
    return "what it wants is free, but not all on one node, or is kept for another"
