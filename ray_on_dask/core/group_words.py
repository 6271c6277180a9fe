"""What is missing for a placement group that fits nowhere, for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ray_on_dask.core.bundles import Units
from ray_on_dask.core.group_record import Group, label_name
from ray_on_dask.core.labels import in_words
from ray_on_dask.core.resources import UNITS


def what_is_missing(group: Group, total: Mapping[str, Units]) -> str:
    """Of what the nodes have in `total` when nothing is taken."""
    needs = group.needs()
    for index, need in needs.items():
        lacking = _lacking(need, total.values(), "on one node")
        labels = group.selectors[index] if group.selectors else None
        if labels and not any(label_name(labels) in free for free in total.values()):
            return f"no node has the labels of bundle {index} ({in_words(labels)})"
        if lacking:
            return f"no node can have bundle {index}: {lacking}"
    if group.strategy == "STRICT_SPREAD" and len(needs) > len(total) - len(group.seats):
        return f"{len(group.bundles)} nodes are needed, and there are {len(total)}"
    whole = _sum(needs.values())
    if group.strategy == "STRICT_PACK":
        return f"one node must have all of it: {_lacking(whole, total.values(), 'on one node')}"
    lacking = _lacking(whole, [_sum(total.values())], "in all")
    return lacking or "the bundles do not go together on the nodes that there are"


def _sum(units: Iterable[Units]) -> dict[str, int]:
    out: dict[str, int] = {}
    for one in units:
        for name, amount in one.items():
            out[name] = out.get(name, 0) + amount
    return out


def _lacking(need: Units, offers: Iterable[Units], where: str) -> str:
    """Resources of which no offer has enough."""
    offers, said = list(offers), []
    for name, units in need.items():
        most = max((offer.get(name, 0) for offer in offers), default=0)
        if units > most and not name.startswith("label:"):
            said.append(f"{name}: {units / UNITS:g} wanted, {max(0, most) / UNITS:g} {where}")
    return "; ".join(said)
