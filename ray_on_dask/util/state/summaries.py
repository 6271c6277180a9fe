"""Numbers of actors, tasks and objects, by what they are of and in which state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from ray_on_dask.util.state import sources, task_sources
from ray_on_dask.util.state.listing import S
from ray_on_dask.util.state.records import ObjectState

TIMEOUT = 30


def summarize_actors(
    address: str | None = None, timeout: float = TIMEOUT, raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """``{"cluster": {"summary": {class: {"class_name", "state_counts"}}, "total_actors", …}}``."""
    found = sources.actors(timeout)
    summary = _counts(found, lambda actor: actor.class_name, lambda actor: actor.state)
    for name, one in summary.items():
        one["class_name"] = name
    return _cluster(summary, total_actors=len(found), summary_by="class")


def summarize_tasks(
    address: str | None = None, timeout: float = TIMEOUT, raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """``{"cluster": {"summary": {name: {"type", "state_counts", …}}, "total_tasks", …}}``."""
    found = task_sources.tasks(timeout)
    summary = _counts(found, lambda task: task.name, lambda task: task.state)
    calls = 0
    for task in found:
        summary[task.name].update(func_or_class_name=task.func_or_class_name, type=task.type)
        calls += task.type == "ACTOR_TASK"
    return _cluster(
        summary, total_tasks=len(found) - calls, total_actor_tasks=calls, total_actor_scheduled=0,
        summary_by="func_name",
    )  # fmt: skip


def summarize_objects(
    address: str | None = None, timeout: float = TIMEOUT, raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Numbers of objects by what makes them, and their size in all, in bytes and MB."""
    found = sources.objects(timeout)
    summary = _counts(found, lambda object: object.call_site, lambda object: object.task_status)
    by_site: dict[str, list[ObjectState]] = {}
    for object in found:
        by_site.setdefault(object.call_site, []).append(object)
    for site, one in summary.items():
        mine = by_site[site]
        kinds = [object.reference_type for object in mine]
        one.update(
            total_objects=len(mine), total_size_mb=sum(x.object_size for x in mine) / 1e6,
            total_num_workers=len({x.owner for x in mine}),
            total_num_nodes=len({x.node_id for x in mine if x.node_id}),
            task_state_counts=one["state_counts"],
            ref_type_counts=dict(sorted(Counter(kinds).items())),
        )  # fmt: skip
    size = sum(object.object_size for object in found)
    return _cluster(
        summary, total_objects=len(found), total_size=size, total_size_mb=size / 1e6,
        callsite_enabled=False, summary_by="callsite",
    )  # fmt: skip


def _counts(
    records: list[S], name: Callable[[S], str], state: Callable[[S], str]
) -> dict[str, dict[str, Any]]:
    summary: dict[str, dict[str, Any]] = {}
    for record in records:
        counts = summary.setdefault(name(record), {"state_counts": {}})["state_counts"]
        counts[state(record)] = counts.get(state(record), 0) + 1
    return summary


def _cluster(summary: dict[str, Any], **totals: Any) -> dict[str, Any]:
    return {"cluster": {"summary": summary, **totals}}
