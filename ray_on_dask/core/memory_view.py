"""Which objects are shared in a cluster, and who keeps each of them: for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ray_on_dask.ids import OBJECT_ID_SIZE

if TYPE_CHECKING:
    from ray_on_dask.core.control import ControlStore


def listed(store: ControlStore, limit: int) -> list[dict[str, Any]]:
    """One row for each of the first `limit` objects of the directory.

    Keys: `object_id`, `size`, `state`, `call_site` (the function that makes it), `node`, `ip`,
    `owner`, `pid` and `type` of the owner, `reference_type`, `holders` (`process`, `pid`, `type`,
    `count`), `contained_in` (ids of objects that contain it), `waiting` (processes).
    """
    containers: dict[str, list[str]] = {}
    for id, inner in store.directory.contents():
        for contained in inner:
            containers.setdefault(contained.hex(), []).append(id.hex())
    rows = store.directory.entries(limit)
    return [_row(store, row, containers.get(row["object_id"], [])) for row in rows]


def _row(store: ControlStore, facts: dict[str, Any], contained_in: list[str]) -> dict[str, Any]:
    owner, members = facts["owner"], store.members
    member = members.get(owner)
    node = facts["node"] or (member.node if member is not None else "")
    known = store.nodes.get(node)
    holders = [
        {"process": name, "pid": members[name].pid, "type": members[name].kind, "count": count}
        for name, count in facts["holders"].items() if name in members
    ]  # fmt: skip
    return {
        "object_id": facts["object_id"], "size": facts["size"], "state": facts["state"],
        "call_site": facts["label"] or "-", "node": node, "ip": known.ip if known else "",
        "owner": owner, "pid": member.pid if member is not None else 0,
        "type": member.kind if member is not None else "dead",
        "reference_type": _type(facts, holders, contained_in), "holders": holders,
        "contained_in": contained_in, "waiting": facts["waiting"],
    }  # fmt: skip


def _type(facts: dict[str, Any], holders: list[dict[str, Any]], contained_in: list[str]) -> str:
    """What keeps it, in Ray's words; `BORROWED`: a process that is not its owner."""
    if len(facts["object_id"]) != 2 * OBJECT_ID_SIZE:
        return "ACTOR_HANDLE"
    if any(holder["process"] == facts["owner"] for holder in holders):
        return "LOCAL_REFERENCE"
    if holders:
        return "BORROWED"
    return "CAPTURED_IN_OBJECT" if contained_in else "UNKNOWN"
