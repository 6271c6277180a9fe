"""What there is in the cluster, as records with all their details."""

from __future__ import annotations

import json
from typing import Any

from ray_on_dask.core.resources import as_floats
from ray_on_dask.ids import PUT_INDEX, TASK_ID_SIZE, ActorID, JobID
from ray_on_dask.runtime.here import worker_id
from ray_on_dask.util.state.listing import ask
from ray_on_dask.util.state.records import (
    ActorState,
    JobState,
    NodeState,
    ObjectState,
    PlacementGroupState,
    RuntimeEnvState,
    WorkerState,
)

#: Reasons of ends that somebody has wanted.
_INTENDED = ("ray.kill", "driver has exited", "out of scope", "idle", "job has ended")


class Clock:
    """Turns times of the control store's clock into milliseconds since 1970."""

    def __init__(self, timeout: float):
        self.its_now, self.now = ask("clock", timeout)

    def __call__(self, then: float) -> int:
        return int((self.now - self.its_now + then) * 1000) if then else 0


def job_id(number: int) -> str:
    """The id of a job, 8 hex digits."""
    return JobID.from_int(number).hex()


def nodes(timeout: float) -> list[NodeState]:
    """All nodes, those that are gone too."""
    clock = Clock(timeout)
    return [
        NodeState(
            node_id=x["name"], node_ip=x["ip"], is_head_node=x["head"],
            state="ALIVE" if x["alive"] else "DEAD", state_message=x["reason"],
            node_name=x["node_name"] or x["hostname"], resources_total=x["resources"],
            labels={"ray.io/node-id": x["name"], **x["labels"]},
            start_time_ms=clock(x["started"]), end_time_ms=clock(x["ended"]),
        )
        for x in ask("nodes", timeout)
    ]  # fmt: skip


def actors(timeout: float) -> list[ActorState]:
    """All actors, the latest dead ones too."""
    clock = Clock(timeout)
    states = {"PENDING": "PENDING_CREATION"}
    return [
        ActorState(
            actor_id=x["actor_id"], class_name=x["class_name"],
            state=states.get(x["state"], x["state"]), job_id=job_id(x["job"]), name=x["name"],
            node_id=x["node"] or None, pid=x["pid"], ray_namespace=x["namespace"],
            serialized_runtime_env=x.get("runtime_env") or "{}",
            required_resources=as_floats(x["resources"]),
            death_cause={"reason": x["cause"]} if x["state"] == "DEAD" else None,
            is_detached=x["detached"], placement_group_id=x.get("placement_group") or None,
            repr_name="", num_restarts=x["restarts"],
            start_time_ms=clock(x["created"]), end_time_ms=clock(x["ended"]),
            calls_done=x["done"], calls_failed=x["failed"], calls_pending=x["waiting"],
        )
        for x in ask("actors", timeout)
    ]  # fmt: skip


def jobs(timeout: float) -> list[JobState]:
    """All drivers' sessions, then the jobs that were submitted."""
    clock = Clock(timeout)
    ips = {node["name"]: node["ip"] for node in ask("nodes", timeout)}
    drivers = [
        JobState(
            job_id=job_id(x["job"]), status="SUCCEEDED" if x["ended"] else "RUNNING",
            entrypoint=x["entrypoint"],
            driver_info={
                "id": job_id(x["job"]), "node_ip_address": ips.get(x["node"], ""),
                "pid": str(x["pid"]), "node_id": x["node"],
            },
            start_time=clock(x["started"]), end_time=clock(x["ended"]) or None,
            runtime_env=json.loads(x.get("runtime_env") or "{}"), driver_node_id=x["node"],
            ray_namespace=x["namespace"],
        )
        for x in ask("jobs", timeout)
    ]  # fmt: skip
    return drivers


def placement_groups(timeout: float) -> list[PlacementGroupState]:
    """All placement groups, the latest removed ones too."""
    return [
        PlacementGroupState(
            placement_group_id=x["id"].hex(), name=x["name"], creator_job_id=job_id(x["job"]),
            state=x["state"],
            bundles=[
                {"bundle_id": index, "unit_resources": units, "node_id": x["nodes"].get(index, "")}
                for index, units in enumerate(x["bundles"])
            ],
            is_detached=x["detached"],
            stats={"scheduling_state": x["refused"] or ("INFEASIBLE" if x["infeasible"] else "")},
        )
        for x in ask("placement_groups", timeout)
    ]  # fmt: skip


def workers(timeout: float) -> list[WorkerState]:
    """Drivers and executors: those that live, then the latest that are gone."""
    clock = Clock(timeout)
    ips = {node["name"]: node["ip"] for node in ask("nodes", timeout)}
    kinds = {"driver": "DRIVER"}
    living = [
        WorkerState(
            worker_id=worker_id(name), is_alive=True, worker_type=kinds.get(kind, "WORKER"),
            node_id=node, ip=ips.get(node, ""), pid=pid, job_id=job_id(job),
        )
        for name, (kind, node, pid, job) in ask("stats", timeout)["members"].items()
    ]  # fmt: skip
    gone = [
        WorkerState(
            worker_id=worker_id(x["name"]), is_alive=False,
            worker_type=kinds.get(x["kind"], "WORKER"), exit_type=_exit_type(x),
            exit_detail=x["reason"], node_id=x["node"], ip=ips.get(x["node"], ""), pid=x["pid"],
            job_id=job_id(x["job"]), end_time_ms=clock(x["ended"]),
        )
        for x in reversed(ask("departed", timeout))
    ]  # fmt: skip
    return living + gone


def _exit_type(gone: dict[str, Any]) -> str:
    if gone["kind"] == "driver" or any(word in gone["reason"] for word in _INTENDED):
        return "INTENDED_USER_EXIT"
    if gone["status"] == 0:
        return "INTENDED_SYSTEM_EXIT"
    return "SYSTEM_ERROR" if gone["status"] < 0 else "USER_ERROR"


def objects(timeout: float) -> list[ObjectState]:
    """Objects of which others than their owners know."""
    members = ask("stats", timeout)["members"]
    ips = {node["name"]: node["ip"] for node in ask("nodes", timeout)}
    made_by = {run[4]: run[3] for run in ask("runs", timeout)}
    out = []
    for x in ask("objects", timeout):
        kind, node, pid, _ = members.get(x["owner"], ("", "", 0, 0))
        out.append(
            ObjectState(
                object_id=x["object_id"], object_size=x["size"],
                task_status="PENDING" if x["state"] == "PENDING" else "FINISHED",
                attempt_number=0, reference_type=_reference_type(x), call_site=_maker(x, made_by),
                type="DRIVER" if kind == "driver" else "WORKER", pid=pid, ip=ips.get(node, ""),
                owner=x["owner"], node_id=x["node"], holders=x["holders"],
            )
        )  # fmt: skip
    return out


def _maker(entry: dict[str, Any], made_by: dict[str, str]) -> str:
    """The function that makes an object, "put" for a put, "actor" for what stands for an actor."""
    id = bytes.fromhex(entry["object_id"])
    if len(id) == ActorID.SIZE:
        return "actor"
    if id[TASK_ID_SIZE:] == PUT_INDEX:
        return entry["label"] or "put"
    return entry["label"] or made_by.get(id[:TASK_ID_SIZE].hex(), "")


def _reference_type(entry: dict[str, Any]) -> str:
    if len(entry["object_id"]) == 2 * ActorID.SIZE:
        return "ACTOR_HANDLE"
    if any(count > 0 for count in entry["holders"].values()):
        return "LOCAL_REFERENCE"
    return "CAPTURED_IN_OBJECT" if entry["containers"] else "UNKNOWN_STATUS"


def runtime_envs(timeout: float) -> list[RuntimeEnvState]:
    """Runtime environments in use."""
    return [
        RuntimeEnvState(runtime_env=json.loads(x["env"]), node_id=x["node"], ref_cnt=x["uses"])
        for x in ask("runtime_envs", timeout)
    ]
