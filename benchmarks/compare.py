"""Run the workloads on several modules in turn, A B A B, and hold the medians against the goals.

    python -m benchmarks.compare --python ray=venv-ray/bin/python --python ray_on_dask=python

Writes ``benchmarks/results/<name>.json`` after each batch, so that a run that is broken off
leaves what it has, and a chart beside it where matplotlib is installed.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import chart, registry, results
from benchmarks.child import Module, run_batch
from benchmarks.registry import Suite, Workload
from benchmarks.results import Results

FOLDER = Path(__file__).resolve().parent / "results"
#: Rounds and seconds a workload, where the command line does not say.
DEFAULTS = {Suite.QUICK: (1, 0.5), Suite.STANDARD: (3, 2.0), Suite.FULL: (3, 2.0)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a comparison; give 0 if nothing failed and no goal is missed, else 1."""
    options = _parse(arguments)
    rounds, seconds = _effort(options)
    workloads = registry.select(options.suite, options.only)
    if not workloads:
        raise SystemExit(f"no workload is called {options.only}")
    settings = {"suite": options.suite.name.lower(), "rounds": rounds, "seconds": seconds}
    if options.only:
        settings["only"] = options.only
    run = Results(workloads, [module.name for module in options.python], settings)
    path = options.output or FOLDER / f"{options.name}.json"
    for module in options.python:
        module.compile()
    compare(options.python, run, batches(workloads, options.suite), path)
    _publish(run, path)
    return int(bool(run.errors) or any(line["met"] is False for line in run.lines()))


def compare(
    modules: Sequence[Module], run: Results, groups: Sequence[Sequence[Workload]], path: Path
) -> None:
    """Run each group of workloads on all modules in turn, for as many rounds as are set."""
    rounds, seconds = run.settings["rounds"], run.settings["seconds"]
    for number in range(1, rounds + 1):
        for group, module in itertools.product(groups, modules):
            chosen = _expressible(module, group)
            if not chosen:
                continue
            names = " ".join(workload.name for workload in chosen)
            print(f"round {number}/{rounds}  {module.name}: {names}", file=sys.stderr)
            run_batch(module, chosen, seconds, _taker(run, module.name))
            run.write(path)


def batches(workloads: Sequence[Workload], suite: Suite) -> list[list[Workload]]:
    """Group workloads into those that share a process: by subject, or all in a quick run."""
    groups: dict[str, list[Workload]] = {}
    for workload in workloads:
        shared = suite is Suite.QUICK and not workload.own_process
        groups.setdefault("shared" if shared else workload.batch, []).append(workload)
    return list(groups.values())


def _expressible(module: Module, group: Sequence[Workload]) -> list[Workload]:
    """Leave out what plain Dask has no words for."""
    return [w for w in group if module.name != "dask" or w.name in registry.ON_DASK]


def _taker(run: Results, module: str) -> Callable[[dict[str, Any]], None]:
    """Give the function that notes the events of one module's process and says how it goes."""
    began = time.monotonic()

    def take(event: dict[str, Any]) -> None:
        run.take(module, event)
        for text in _progress(event):
            print(f"  {time.monotonic() - began:6.1f} s  {text}", file=sys.stderr)

    return take


def _progress(event: dict[str, Any]) -> Iterator[str]:
    if event["event"] == "result":
        yield f"{event['row']} {event['value']:.5g} {event['unit']}"
    elif event["event"] == "error":
        yield f"{event['workload']} FAILED: {event['error'][-300:]}"


def _publish(run: Results, path: Path) -> None:
    """Write the run, print its table and errors, draw its chart."""
    run.write(path)
    lines = run.lines()
    print(results.table(lines, run.modules))
    for (module, workload), errors in run.errors.items():
        print(f"\n{module} {workload} failed: {errors[-1]}")
    print(f"\n{path}")
    if chart.available() and chart.draw(lines, path.with_suffix(".png")):
        print(path.with_suffix(".png"))


def _effort(options: argparse.Namespace) -> tuple[int, float]:
    rounds, seconds = DEFAULTS[options.suite]
    return options.rounds or rounds, options.seconds or seconds


def _module(text: str) -> Module:
    """Read ``NAME=INTERPRETER``."""
    name, sign, python = text.partition("=")
    if not sign or name not in ("ray", "ray_on_dask", "dask"):
        raise argparse.ArgumentTypeError("give ray=PATH, ray_on_dask=PATH or dask=PATH")
    # Not resolved: the link in a virtual environment is what makes it one.
    return Module(name, os.path.abspath(python) if os.sep in python else python)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmarks.compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--python",
        action="append",
        type=_module,
        required=True,
        metavar="MODULE=INTERPRETER",
        help="what to run, in this order",
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help="rows or subjects: part of a name, or a pattern; repeatable",
    )
    parser.add_argument(
        "--quick",
        dest="suite",
        action="store_const",
        const=Suite.QUICK,
        default=Suite.STANDARD,
        help="few workloads, once, about a minute",
    )
    parser.add_argument(
        "--full",
        dest="suite",
        action="store_const",
        const=Suite.FULL,
        help="with a million queued tasks",
    )
    parser.add_argument("--rounds", type=int, help="how often each module runs (3; quick: 1)")
    parser.add_argument("--seconds", type=float, help="for each workload (2; quick: 0.5)")
    parser.add_argument("--name", default="latest", help="of the file in benchmarks/results")
    parser.add_argument("--output", type=Path, help="the JSON file, in place of --name")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
