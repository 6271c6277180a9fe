"""The cluster's figures as metrics: this package's own, and those of users' programs.

Names are Ray's where Ray has the figure (``ray_resources``, ``ray_actors``, ``ray_tasks``, …), so
that boards made for Ray show them; the others begin with ``ray_on_dask_``.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ray_on_dask.core import overview
from ray_on_dask.core.exposition import Family

if TYPE_CHECKING:
    from ray_on_dask.core.control import ControlStore

_NO_LABEL = re.compile(r"[^a-zA-Z0-9_]")


def families(
    store: ControlStore,
    counts: Mapping[str, list[float]],
    failures: Mapping[str, int],
    figures: Mapping[str, Mapping[str, Any]],
    now: float,
) -> list[Family]:
    """All metrics of a cluster.

    Parameters
    ----------
    store : ControlStore
    counts : mapping
        {function: [number of runs, their seconds, how many failed]}.
    failures : mapping
        {kind of failure: number}.
    figures : mapping
        {node: what it has measured of itself}.
    now : float
        The control store's clock.
    """
    nodes = overview.nodes(store)
    ours = [
        *_of_nodes(store, nodes), *_of_work(store, counts, failures),
        *_of_waiting(store, now), *_of_processes(store, nodes, figures),
        *_of_stores(nodes, figures),
    ]  # fmt: skip
    taken = {family.name for family in ours}
    return [*ours, *user_families(store.questions.metrics.listed(), taken)]


def _labels(node: Mapping[str, Any]) -> dict[str, str]:
    return {"NodeAddress": node["ip"], "NodeId": node["name"][:16]}


def _of_nodes(store: ControlStore, nodes: list[dict[str, Any]]) -> Iterable[Family]:
    active = Family("ray_cluster_active_nodes", "gauge", "Nodes that are alive.")
    active.add(len(nodes))
    failed = Family("ray_cluster_failed_nodes", "gauge", "Nodes that have gone.")
    failed.add(len(store.nodes) - len(nodes))
    resources = Family("ray_resources", "gauge", "Resources of a node, in use and free.")
    lent = Family(
        "ray_on_dask_lent_resources", "gauge", "Resources that blocked tasks have lent to others."
    )
    for node in nodes:
        for name, total in node["total"].items():
            if "_group_" not in name:
                free = node["free"].get(name, 0.0)
                resources.add(total - free, **_labels(node), Name=name, State="USED")
                resources.add(free, **_labels(node), Name=name, State="AVAILABLE")
        for name, units in node["lent"].items():
            if "_group_" not in name:
                lent.add(units, **_labels(node), Name=name)
    return active, failed, resources, lent


def _of_work(
    store: ControlStore, counts: Mapping[str, list[float]], failures: Mapping[str, int]
) -> Iterable[Family]:
    tasks = Family("ray_tasks", "gauge", "Tasks and calls that have ended, by name and state.")
    seconds = Family(
        "ray_on_dask_task_seconds_total", "counter", "Seconds that tasks and calls have run."
    )
    for name, (number, spent, failed) in counts.items():
        tasks.add(number - failed, Name=name, State="FINISHED")
        tasks.add(failed, Name=name, State="FAILED")
        seconds.add(spent, Name=name)
    actors = Family("ray_actors", "gauge", "Actors by state.")
    states: dict[str, int] = {}
    for actor in store.actors.actors():
        states[actor["state"]] = states.get(actor["state"], 0) + 1
    groups = Family("ray_placement_groups", "gauge", "Placement groups by state.")
    made: dict[str, int] = {}
    for group in store.groups.listed():
        made[group["state"]] = made.get(group["state"], 0) + 1
    errors = Family("ray_on_dask_errors_total", "counter", "Failures in the error log, by kind.")
    for family, numbers, label in (
        (actors, states, "State"), (groups, made, "State"), (errors, failures, "Kind")
    ):  # fmt: skip
        for name, number in sorted(numbers.items()):
            family.add(number, **{label: name})
    jobs = Family("ray_on_dask_drivers", "gauge", "Drivers that are connected.")
    jobs.add(sum(not job.ended for job in store.jobs.values()))
    return tasks, seconds, actors, groups, errors, jobs


def _of_waiting(store: ControlStore, now: float) -> Iterable[Family]:
    leases = Family("ray_on_dask_leases", "gauge", "Leases of executors that are granted.")
    leases.add(len(store.leases.leases))
    pending = Family(
        "ray_on_dask_pending_leases", "gauge", "Leases that are wanted and not granted, by kind."
    )
    longest = Family(
        "ray_on_dask_longest_wait_seconds", "gauge", "How long the oldest demand has waited."
    )
    numbers: dict[str, int] = {"task": 0, "actor": 0}
    since = now
    for demand in store.leases.lacking:
        kind = "task" if demand.lifetime is None else "actor"
        numbers[kind] += demand.lacks
        since = min(since, demand.since)
    for kind, number in numbers.items():
        pending.add(number, Kind=kind)
    longest.add(max(0.0, now - since))
    return leases, pending, longest


def _of_processes(
    store: ControlStore, nodes: list[dict[str, Any]], figures: Mapping[str, Mapping[str, Any]]
) -> Iterable[Family]:
    executors = Family("ray_on_dask_executors", "gauge", "Executors by node and state.")
    memory = Family(
        "ray_on_dask_executors_memory_bytes", "gauge", "Resident memory of a node's executors."
    )
    states: dict[tuple[str, str], int] = {}
    for executor in overview.executors(store):
        key = (executor["node"], executor["state"])
        states[key] = states.get(key, 0) + 1
    for node in nodes:
        for (name, state), number in sorted(states.items()):
            if name == node["name"]:
                executors.add(number, **_labels(node), State=state)
        seen = figures.get(node["name"], {}).get("executors", {})
        memory.add(sum(process[1] for process in seen.values()), **_labels(node))
    return executors, memory


#: What a node tells of its store, and the metric that it is.
_STORE = {
    "capacity": ("ray_object_store_capacity_memory", "Bytes that a node's store may take."),
    "used": ("ray_object_store_used_memory", "Bytes that objects take in shared memory."),
    "warm": ("ray_on_dask_store_warm_bytes", "Free bytes kept mapped for the next objects."),
    "spilled": ("ray_on_dask_store_spilled_bytes", "Bytes of objects that are on disk."),
    "mapped": ("ray_on_dask_store_mapped_bytes", "Bytes that processes have mapped."),
    "objects": ("ray_object_store_num_local_objects", "Stored objects that a node knows of."),
}


def _of_stores(
    nodes: list[dict[str, Any]], figures: Mapping[str, Mapping[str, Any]]
) -> Iterable[Family]:
    for key, (name, text) in _STORE.items():
        family = Family(name, "gauge", text)
        for node in nodes:
            value = figures.get(node["name"], {}).get("store", {}).get(key)
            if value is not None:
                family.add(value, **_labels(node))
        if family.samples:
            yield family


def user_families(
    series: Iterable[Mapping[str, Any]], taken: Container[str] = ()
) -> Iterable[Family]:
    """Metrics of `util.metrics`; names begin with ``ray_``, those of counters end in ``_total``.

    Where the name is `taken`, it begins with ``ray_user_``.
    """
    found: dict[str, Family] = {}
    seen: set[tuple[str, frozenset[tuple[str, str]]]] = set()
    for one in series:
        name = one["name"]
        if one["kind"] == "counter" and not name.endswith("_total"):
            name += "_total"
        name = f"ray_user_{name}" if f"ray_{name}" in taken else f"ray_{name}"
        family = found.setdefault(name, Family(name, one["kind"], one["description"]))
        labels = {_label(key): text for key, text in one["tags"].items()}
        key = (name, frozenset(labels.items()))
        if family.kind != one["kind"] or key in seen:
            continue  # a name stands for one kind, with one set of boundaries: the first
        seen.add(key)
        if one["kind"] == "histogram":
            family.add_histogram(one["boundaries"], one["counts"], one["value"], **labels)
        else:
            family.add(one["value"], **labels)
    return found.values()


def _label(key: str) -> str:
    """A tag's key as a label may be called; ``le`` is taken by buckets."""
    name = _NO_LABEL.sub("_", key)
    return f"tag_{name}" if not name or name[0].isdigit() or name == "le" else name
