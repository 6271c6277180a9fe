"""Questions to the control store, and its answers as records: filtered, at most so many."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from ray_on_dask.exceptions import GetTimeoutError, RaySystemError
from ray_on_dask.ids import JobID
from ray_on_dask.runtime import current
from ray_on_dask.runtime.here import worker_id
from ray_on_dask.util.state.records import (
    ActorState,
    JobState,
    NodeState,
    ObjectState,
    PlacementGroupState,
    State,
    TaskState,
    WorkerState,
)

#: ``(field, operator, value)``.
Filter = tuple[str, str, Any]
S = TypeVar("S", bound=State)

#: No list is longer.
LIMIT_MAX = 10_000
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le,
    ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


class RayStateApiException(RaySystemError):
    """A question about the state of the cluster got no answer: there is no session, or no time."""


def ask(what: str, timeout: float) -> Any:
    """The control store's answer; `RayStateApiException` if there is none."""
    process = current.process
    if process is None:
        raise RayStateApiException("there is no session to list anything of: call init() first")
    try:
        return process.asking.ask(what, timeout=timeout)
    except (GetTimeoutError, ValueError) as error:
        raise RayStateApiException(str(error)) from error


def select(
    records: Iterable[S], kind: type[S], filters: Iterable[Filter] | None, limit: int
) -> list[S]:
    """The first `limit` records that pass all filters.

    Raises
    ------
    ValueError
        For a field that the records do not have, another operator, and a limit that cannot be.
    """
    if not 0 < limit <= LIMIT_MAX:
        raise ValueError(f"limit must be 1 to {LIMIT_MAX}, but is {limit}")
    checks = [_check(item, kind) for item in filters or ()]
    passed = (record for record in records if all(check(record) for check in checks))
    return [record for record, _ in zip(passed, range(limit), strict=False)]


def _check(item: Filter, kind: type[State]) -> Callable[[State], bool]:
    name, sign, value = item
    compare = _OPERATORS.get(sign)
    if name not in kind.field_names():
        raise ValueError(f"{name!r} is no field of {kind.__name__}, which has {kind.field_names()}")
    if compare is None:
        raise ValueError(f"{sign!r} is no operator for filters: it is one of {[*_OPERATORS]}")

    def check(record: State) -> bool:
        return compare(*_alike(record[name], value))

    return check


def _alike(have: Any, given: Any) -> tuple[Any, Any]:
    """Both sides of a comparison: numbers may be given as text, text in any case."""
    if isinstance(have, bool):
        return str(have).lower(), str(given).lower()
    if isinstance(have, int | float) and isinstance(given, str):
        return float(have), float(given)
    if isinstance(have, str) and isinstance(given, str):
        return have.lower(), given.lower()
    return have, given


# -- what there is -----------------------------------------------------------------------


class _Clock:
    """Turns times of the control store's clock into milliseconds since 1970."""

    def __init__(self, timeout: float):
        self.its_now, self.now = ask("clock", timeout)

    def __call__(self, then: float) -> int:
        return int((self.now - self.its_now + then) * 1000) if then else 0


def _job(number: int) -> str:
    return JobID.from_int(number).hex()


def nodes(timeout: float) -> list[NodeState]:
    """All nodes, those that are gone too."""
    clock = _Clock(timeout)
    return [
        NodeState(
            node["name"], node["ip"], node["head"], "ALIVE" if node["alive"] else "DEAD",
            node["reason"], node["hostname"], node["resources"], node["labels"],
            clock(node["started"]), clock(node["ended"]),
        )
        for node in ask("nodes", timeout)
    ]  # fmt: skip


def actors(timeout: float) -> list[ActorState]:
    """All actors, the latest dead ones too."""
    clock = _Clock(timeout)
    states = {"PENDING": "PENDING_CREATION"}
    return [
        ActorState(
            x["actor_id"], x["class_name"], states.get(x["state"], x["state"]), _job(x["job"]),
            x["name"], x["node"], x["pid"], x["namespace"],
            {name: units / 10_000 for name, units in x["resources"].items()}, x["cause"],
            x["detached"], x["restarts"], clock(x["created"]), clock(x["ended"]),
        )
        for x in ask("actors", timeout)
    ]  # fmt: skip


def tasks(timeout: float) -> list[TaskState]:
    """The latest runs that have ended, the newest first."""
    return [
        TaskState(
            task, name, "FINISHED" if ok else "FAILED", _job(job), node, pid, int(start * 1000),
            int(stop * 1000),
        )
        for job, node, pid, name, task, start, stop, ok in reversed(ask("runs", timeout))
    ]  # fmt: skip


def jobs(timeout: float) -> list[JobState]:
    """All drivers' sessions."""
    clock = _Clock(timeout)
    return [
        JobState(
            _job(job["job"]), "SUCCEEDED" if job["ended"] else "RUNNING", job["entrypoint"],
            clock(job["started"]), clock(job["ended"]), job["pid"], job["node"], job["namespace"],
        )
        for job in ask("jobs", timeout)
    ]  # fmt: skip


def placement_groups(timeout: float) -> list[PlacementGroupState]:
    """All placement groups, the latest removed ones too."""
    return [
        PlacementGroupState(
            x["id"].hex(), x["name"], _job(x["job"]), x["state"],
            [
                {"bundle_id": index, "unit_resources": units, "node_id": x["nodes"].get(index, "")}
                for index, units in enumerate(x["bundles"])
            ],
            x["detached"],
        )
        for x in ask("placement_groups", timeout)
    ]  # fmt: skip


def workers(timeout: float) -> list[WorkerState]:
    """Living drivers and executors."""
    return [
        WorkerState(
            worker_id(name), True, "DRIVER" if kind == "driver" else "WORKER", node, pid, _job(job)
        )
        for name, (kind, node, pid, job) in ask("stats", timeout)["members"].items()
    ]


def objects(timeout: float) -> list[ObjectState]:
    """Objects of which others than their owners know."""
    return [
        ObjectState(
            x["object_id"], x["size"], "PENDING" if x["state"] == "PENDING" else "FINISHED",
            x["label"], x["owner"], x["node"], x["holders"],
        )
        for x in ask("objects", timeout)
    ]  # fmt: skip
