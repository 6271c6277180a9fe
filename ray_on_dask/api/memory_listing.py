"""What holds what: the objects that processes share, as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

UNITS = {"B": 1, "KB": 2**10, "MB": 2**20, "GB": 2**30}
#: {option: key of a row}.
GROUPS = {"NODE_ADDRESS": "ip", "STACK_TRACE": "call_site"}
SORTS = {"OBJECT_SIZE": "size", "PID": "pid", "REFERENCE_TYPE": "reference_type"}

Rows = list[dict[str, Any]]
_COLUMNS = "{:<15} {:>8} {:<9} {:<19} {:>12} {:<8} {:<24} {}"


def rows(limit: int = 10_000, timeout: float = 30.0) -> Rows:
    """The objects of which others than their owners know; see `core.memory_view.listed`."""
    from ray_on_dask.runtime.current import require

    found: Rows = require().asking.ask("memory", timeout, limit=limit)
    return found


def chosen(found: Rows, sort_by: str, num_entries: int | None) -> Rows:
    """The rows in order, largest size first."""
    found = sorted(found, key=lambda row: row[SORTS[sort_by]], reverse=sort_by == "OBJECT_SIZE")
    return found if num_entries is None else found[:num_entries]


def text(
    found: Rows, group_by: str = "NODE_ADDRESS", sort_by: str = "OBJECT_SIZE", units: str = "B",
    stats_only: bool = False, num_entries: int | None = None,
) -> str:  # fmt: skip
    """A table for each group, and what it sums up to.

    Raises
    ------
    ValueError
        For an option that is none, naming those that there are.
    """
    for name, given, there in (
        ("group_by", group_by, GROUPS), ("sort_by", sort_by, SORTS), ("units", units, UNITS),
    ):  # fmt: skip
        if given not in there:
            raise ValueError(f"memory_summary({name}={given!r}): one of {', '.join(there)}")
    groups: dict[str, Rows] = {}
    for row in found:
        groups.setdefault(row[GROUPS[group_by]] or "-", []).append(row)
    lines: list[str] = []
    for name, group in groups.items():
        lines += [f"--- Summary for {group_by.lower().replace('_', ' ')}: {name} ---"]
        lines += [_summary(group, units), ""]
        if not stats_only:
            lines += _table(chosen(group, sort_by, num_entries), units)
    return "\n".join([*lines, f"--- In all ---\n{_summary(found, units)}"])


def _size(count: float, units: str) -> str:
    return f"{count / UNITS[units]:,.{0 if units == 'B' else 3}f} {units}"


def _summary(group: Rows, units: str) -> str:
    counts = Counter(row["reference_type"] for row in group)
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
    total = sum(row["size"] for row in group)
    return f"{len(group)} objects, {_size(total, units)}" + (f": {kinds}" if kinds else "")


def _table(group: Rows, units: str) -> Iterable[str]:
    yield _COLUMNS.format(
        "IP", "PID", "TYPE", "REFERENCE", "SIZE", "STATE", "CALL SITE", "OBJECT AND ITS HOLDERS"
    )
    for row in group:
        yield _COLUMNS.format(
            row["ip"] or "-", row["pid"] or "-", row["type"], row["reference_type"],
            _size(row["size"], units), row["state"], row["call_site"][:24],
            " ".join([row["object_id"], *_keepers(row)]),
        )  # fmt: skip
    yield ""


def _keepers(row: dict[str, Any]) -> Iterable[str]:
    for holder in row["holders"]:
        yield f"<- {holder['type']} {holder['pid']}"
    for container in row["contained_in"]:
        yield f"<- object {container}"
