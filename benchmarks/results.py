"""The figures of a run: collected, put into a table, written as JSON."""

from __future__ import annotations

import datetime
import json
import os
import platform
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.registry import Row, Workload

ANCHOR = "ray"
PROJECT = "ray_on_dask"
#: A cell without a figure.
NOTHING = "-"


@dataclass
class Results:
    """All figures of all modules, by row."""

    workloads: Sequence[Workload]
    modules: Sequence[str]
    settings: dict[str, Any]
    #: {(module, row name): figures, one a round}
    figures: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    #: {(module, workload name): errors, one a failed round}
    errors: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    versions: dict[str, dict[str, str]] = field(default_factory=dict)

    def take(self, module: str, event: dict[str, Any]) -> None:
        """Note what one event of a benchmark process says."""
        kind = event["event"]
        if kind == "result":
            self.figures[module, event["row"]].append(event["value"])
        elif kind == "error":
            self.errors[module, event["workload"]].append(event["error"])
        elif kind == "session":
            self.versions[module] = {k: event[k] for k in ("version", "python")}

    def median(self, module: str, row: Row) -> float | None:
        """Give the median over the rounds, or None if no round gave a figure."""
        figures = self.figures.get((module, row.name))
        return statistics.median(figures) if figures else None

    def line(self, workload: Workload, row: Row) -> dict[str, Any]:
        """Give all that is known about one row."""
        medians = {m: self.median(m, row) for m in self.modules}
        value, anchor = medians.get(PROJECT), medians.get(ANCHOR)
        return {
            "name": row.name,
            "title": row.title,
            "unit": row.unit,
            "better": row.better.value,
            "goal": row.goal,
            "absolute": row.absolute,
            "published": row.published,
            "subject": workload.subject,
            "values": {m: self.figures.get((m, row.name), []) for m in self.modules},
            "median": medians,
            "ratio": value / anchor if value is not None and anchor else None,
            "score": None if value is None else row.score(value, anchor),
            "met": None if value is None else row.meets(value, anchor),
            "beats_published": None if value is None else row.beats_published(value),
            "errors": {m: e for m in self.modules if (e := self.errors.get((m, workload.name)))},
        }

    def lines(self) -> list[dict[str, Any]]:
        """Give all rows, in the order of the registry."""
        return [self.line(workload, row) for workload in self.workloads for row in workload.rows]

    def document(self) -> dict[str, Any]:
        """Give the whole run as it is written to disk."""
        return {
            "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "machine": machine(),
            "settings": self.settings,
            "modules": self.versions,
            "rows": self.lines(),
        }

    def write(self, path: Path) -> None:
        """Write the run to `path` as JSON, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(self.document(), indent=1) + "\n")
        partial.replace(path)


def machine() -> dict[str, Any]:
    """Give the facts about this machine that a figure depends on."""
    return {
        "cores": os.cpu_count(),
        "processor": _field("/proc/cpuinfo", "model name"),
        "memory": _field("/proc/meminfo", "MemTotal"),
        "system": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
    }


def table(lines: Iterable[dict[str, Any]], modules: Sequence[str]) -> str:
    """Lay out `lines` (as `Results.lines` gives them) as text, with a verdict for each."""
    head = ["workload", "unit", *modules, "ratio", "goal", ""]
    body = [cells(line, modules) for line in lines]
    widths = [max(len(row[i]) for row in [head, *body]) for i in range(len(head))]
    rows = [_joined(row, widths) for row in [head, ["-" * w for w in widths], *body]]
    return "\n".join(rows)


def cells(line: dict[str, Any], modules: Sequence[str]) -> list[str]:
    """Give one row of the table: title, unit, a median a module, ratio, goal, verdict."""
    values = [_value(line, module) for module in modules]
    ratio = NOTHING if line["ratio"] is None else f"{line['ratio']:.3g}"
    return [line["title"], line["unit"], *values, ratio, _goal(line), _verdict(line)]


def _value(line: dict[str, Any], module: str) -> str:
    value = line["median"][module]
    if value is not None:
        return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
    return "failed" if module in line["errors"] else NOTHING


def _goal(line: dict[str, Any]) -> str:
    if line["goal"] is None:
        return NOTHING
    sign = "≥" if line["better"] == "higher" else "≤"
    return f"{sign} {line['goal']:.3g}{' ' + line['unit'] if line['absolute'] else ''}"


def _verdict(line: dict[str, Any]) -> str:
    if PROJECT in line["errors"]:
        return "failed"
    words = {True: "pass", False: "short", None: ""}
    published = ", beats 64 cores" if line["beats_published"] else ""
    return words[line["met"]] + published


def _joined(cells: Sequence[str], widths: Sequence[int]) -> str:
    right = range(2, len(cells) - 2)
    padded = [
        cell.rjust(width) if i in right else cell.ljust(width)
        for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join(padded).rstrip()


def _field(path: str, name: str) -> str:
    """Give the first value called `name` in a file of ``name : value`` lines."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return "unknown"
    found = (line.partition(":")[2].strip() for line in lines if line.startswith(name))
    return next(found, "unknown")
