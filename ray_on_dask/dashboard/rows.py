"""What the pages show, as rows: plain data, so that it can be tested without a browser."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ray_on_dask.core import overview
from ray_on_dask.ids import JobID

Row = dict[str, Any]

#: Bars of single nodes are drawn up to this number, then those of the whole cluster alone.
BARS_MAX = 48
_COLORS = re.compile(r"\x1b\[[0-9;]*m")
#: Resources that stand for something else than a quantity of the user's.
_INNER = re.compile(r"node:.*|.*_group_.*|bundle")


class Rows:
    """Rows of each kind, from the plugin that has the control store."""

    def __init__(self, plugin: Any):
        self.plugin = plugin

    @property
    def store(self) -> Any:
        """The control store."""
        return self.plugin.store

    def resources(self) -> list[Row]:
        """One row for each resource of each node: shares of it, and what to write beside."""
        nodes = overview.nodes(self.store)
        if len(nodes) > 1:
            total = _summed(nodes)
            many = sum(len(_shown(node["total"])) for node in nodes) > BARS_MAX
            nodes = [total] if many else [total, *nodes]
        return [_bar(node, name) for node in nodes for name in _shown(node["total"])]

    def stores(self) -> list[Row]:
        """One row for each node's object store, in bytes."""
        figures = self.plugin.figures()
        rows = []
        for node in overview.nodes(self.store):
            found = figures.get(node["name"], {}).get("store", {})
            capacity = found.get("capacity", 0)
            used, warm = found.get("used", 0), found.get("warm", 0)
            spilled, mapped = found.get("spilled"), found.get("mapped")
            parts = [f"{_bytes(used)} of {_bytes(capacity)}", f"{found.get('objects', 0)} objects"]
            parts += [f"{_bytes(spilled)} spilled"] if spilled is not None else []
            parts += [f"{_bytes(mapped)} mapped"] if mapped is not None else []
            rows.append(
                {
                    "node": _node(node), "used": used, "warm": warm, "spilled": spilled or 0,
                    "capacity": capacity, "text": ", ".join(parts),
                }
            )  # fmt: skip
        return rows[:BARS_MAX]

    def demands(self) -> list[Row]:
        """What waits, and why."""
        return [
            {
                "what": x["what"], "kind": x["kind"],
                "job": _job(x["job"]), "wanted": x["wanted"],
                "granted": x["granted"], "resources": _quantities(x["resources"]),
                "seconds": round(x["seconds"], 1), "why": x["why"],
            }
            for x in overview.demands(self.store, self.plugin.now())
        ]  # fmt: skip

    def executors(self) -> list[Row]:
        """The executors, those that work first."""
        names = self._names()
        seen: dict[str, Any] = {}
        for figures in self.plugin.figures().values():
            seen |= figures.get("executors", {})
        order = {"blocked": 0, "leased": 1, "actor": 2, "idle": 3}
        found = sorted(overview.executors(self.store), key=lambda x: order[x["state"]])
        return [
            {
                "pid": x["pid"], "node": names.get(x["node"], ""), "job": _job(x["job"]),
                "state": x["state"],
                "what": x["what"] or ("tasks" if x["state"] != "idle" else ""),
                "running": seen.get(x["name"], [0, 0, ""])[2],
                "memory": seen.get(x["name"], [0, 0])[1], "holds": _quantities(x["holds"]),
                "done": x["done"], "failed": x["failed"], "waiting": x["waiting"],
            }
            for x in found
        ]  # fmt: skip

    def actors(self) -> list[Row]:
        """The actors, living ones first, then the latest dead."""
        names = self._names()
        found = sorted(overview.actors(self.store), key=lambda x: (x["ended"] > 0, -x["created"]))
        return [
            {
                "actor": x["actor_id"], "class_name": x["class_name"], "name": x["name"],
                "state": x["state"], "node": names.get(x["node"], ""), "pid": x["pid"] or None,
                "job": _job(x["job"]), "done": x["done"], "failed": x["failed"],
                "waiting": x["waiting"], "restarts": x["restarts"],
                "holds": _quantities({k: v / 10_000 for k, v in x["resources"].items()}),
                "cause": x["cause"],
            }
            for x in found[:2_000]
        ]  # fmt: skip

    def groups(self) -> list[Row]:
        """The placement groups, the latest first."""
        names = self._names()
        return [
            {
                "group": x["id"].hex(), "name": x["name"], "state": x["state"],
                "strategy": x["strategy"], "job": _job(x["job"]),
                "bundles": "; ".join(
                    f"{_quantities(units)} @ {names.get(x['nodes'].get(index, ''), '–')}"
                    for index, units in enumerate(x["bundles"])
                ),
                "detached": "yes" if x["detached"] else "",
                "note": x["refused"] or ("fits nowhere" if x["infeasible"] else ""),
            }
            for x in reversed(self.store.groups.listed())
        ]  # fmt: skip

    def errors(self) -> list[Row]:
        """The latest failures, the newest first."""
        names = self._names()
        records = self.plugin.records
        return [
            {
                "time": f"{datetime.fromtimestamp(x['timestamp']):%H:%M:%S}", "kind": x["type"],
                "job": _job(int(x["job_id"])), "node": names.get(x["node"], ""),
                "function": _function(x["data"]), "error": last_line(x["message"]),
                "message": _COLORS.sub("", x["message"]),
            }
            for x in reversed(records.errors if records is not None else ())
        ]  # fmt: skip

    def _names(self) -> dict[str, str]:
        return {x.name: _node({"ip": x.ip, "name": x.name}) for x in self.store.nodes.values()}


def _node(node: Mapping[str, Any]) -> str:
    return f"{node['ip']} {node['name'][:6]}" if node["name"] else str(node["ip"])


def _job(number: int) -> str:
    return JobID.from_int(number).hex() if number else ""


def _shown(total: Mapping[str, float]) -> list[str]:
    names = [name for name in total if not _INNER.fullmatch(name)]
    first = {"CPU": 0, "GPU": 1, "memory": 8, "object_store_memory": 9}
    return sorted(names, key=lambda name: (first.get(name, 5), name))


def _summed(nodes: list[Row]) -> Row:
    out: Row = {"ip": "cluster", "name": "", "dask": 0.0, "total": {}, "free": {}, "lent": {}}
    for node in nodes:
        out["dask"] += node["dask"]
        for kind in ("total", "free", "lent"):
            for name, units in node[kind].items():
                out[kind][name] = out[kind].get(name, 0.0) + units
    return out


def _bar(node: Row, name: str) -> Row:
    total = node["total"][name] or 1.0
    lent = node["lent"].get(name, 0.0)
    used = max(0.0, node["total"][name] - node["free"].get(name, 0.0))
    dask = min(node["dask"], total - used) if name == "CPU" else 0.0
    text = f"{_amount(name, used)} of {_amount(name, node['total'][name])} in use"
    text += f", {_amount(name, lent)} lent by blocked tasks" if lent else ""
    text += f", {_amount(name, dask)} by Dask's own tasks" if dask else ""
    over = max(0.0, used - total)
    return {
        "bar": f"{_node(node)}  {name.replace('object_store_memory', 'object store')}",
        "used": min(1.0, used / total), "dask": dask / total,
        "lent": min(lent, max(0.0, total - used)) / total, "over": over / total, "text": text,
    }  # fmt: skip


def _amount(name: str, quantity: float) -> str:
    return _bytes(quantity) if name.endswith("memory") else f"{quantity:g}"


def _bytes(size: float) -> str:
    for unit in ("B", "kiB", "MiB", "GiB"):
        if abs(size) < 1024:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.3g} TiB"


def _quantities(resources: Mapping[str, float]) -> str:
    plain = {name: units for name, units in resources.items() if "_group_" not in name}
    return ", ".join(f"{_amount(name, units)} {name}" for name, units in plain.items())


def _function(data: str) -> str:
    found = re.search(r"'function_name': '([^']*)'", data)
    return found[1] if found else ""


def last_line(message: str) -> str:
    """The line of an error's text that says most: the last one that is not empty."""
    lines = [line for line in _COLORS.sub("", message).splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""
