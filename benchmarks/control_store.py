"""The control store's decisions, without any process: leases and placement, held against goals.

    python -m benchmarks.control_store [--output results.json] [CASE ...]

prints a line for each case of `lease_grants` and of `placing`; exits with 1 if a goal is missed.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import sys
from pathlib import Path
from typing import Any

from benchmarks import lease_grants, placing
from benchmarks.results import machine

#: Lease grants a second, at least.
GRANTS = 10_000
#: Seconds to place 1,000 bundles, at most.
PLACED_WITHIN = 1.0
#: Cases without a goal of their own: for orientation.
NO_GOAL = {"moved"}


def measure(name: str, rounds: int) -> dict[str, Any]:
    """Run one case a few times."""
    leases = name in lease_grants.CASES
    case = lease_grants.CASES[name] if leases else placing.CASES[name]
    figures = []
    for _ in range(rounds):
        count, seconds = case()
        figures.append(count / seconds if leases else seconds)
    median = statistics.median(figures)
    goal = None if name in NO_GOAL else GRANTS if leases else PLACED_WITHIN
    met = None if goal is None else (median >= goal if leases else median <= goal)
    return {
        "name": name, "unit": "grants/s" if leases else "s", "count": count, "values": figures,
        "median": median, "goal": goal, "met": met,
    }  # fmt: skip


def main(arguments: list[str]) -> int:
    """Run the cases named, or all."""
    known = [*lease_grants.CASES, *placing.CASES]
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(known))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, help="where the figures go, as JSON")
    options = parser.parse_args(arguments)
    unknown = sorted({*options.cases} - {*known})
    if unknown:
        parser.error(f"unknown case {unknown[0]!r}; there are {', '.join(known)}")
    rows = []
    for name in options.cases or known:
        row = measure(name, options.rounds)
        rows.append(row)
        verdict = {None: "", True: "  met", False: "  MISSED"}[row["met"]]
        print(f"{name:14} {row['median']:12,.3f} {row['unit']:9}{verdict}", flush=True)
    if options.output:
        date = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        nodes = {"nodes": placing.NODES, "cpus": placing.CPUS, "bundles": placing.BUNDLES}
        document = {"date": date, "machine": machine(), "settings": nodes, "rows": rows}
        options.output.write_text(json.dumps(document, indent=1) + "\n")
    return int(any(row["met"] is False for row in rows))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
