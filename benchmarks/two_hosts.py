"""Calls and arrays between two hosts, of this package and of Ray, in turn on the same two.

    make bench-two-hosts
    python -m benchmarks.two_hosts --ray /path/to/ray/bin --rounds 3 --output figures.json

The hosts are network namespaces, each with its own `/dev/shm` (`tests/cluster/network.py`), so it
needs the right to make such. A round starts a cluster of each module, with two CPUs on each host,
and runs `benchmarks.two_hosts_program` on the first. Medians of the rounds are printed and written.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import os
import signal
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.results import ANCHOR, NOTHING, PROJECT, machine

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = "benchmarks/two_hosts_program.py"
#: What the results are called.
SUITE = "two hosts"
#: Seconds for one module's program.
LIMIT = 300.0


def _network() -> Any:
    """The module that makes hosts, which is part of the tests."""
    path = ROOT / "tests" / "cluster" / "network.py"
    spec = importlib.util.spec_from_file_location("rod_two_hosts_network", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@contextmanager
def _ours(network: Any, hosts: list[Any]) -> Iterator[tuple[str, str]]:
    cluster = network.DaskCluster.start(hosts, [0, 1], nthreads=2)
    yield sys.executable, cluster.address


@contextmanager
def _ray(hosts: list[Any], directory: str) -> Iterator[tuple[str, str]]:
    """A head on the first host, a second node on the other; ended as Ray itself ends them."""
    address = f"{hosts[0].ip}:6379"
    started: list[subprocess.Popen[str]] = []
    for host in hosts:
        where = ["--head", "--port=6379", "--include-dashboard=false"]
        if host is not hosts[0]:
            where = [f"--address={address}"]
        started.append(
            host.start(
                f"{directory}/ray", "start", "--block", "--num-cpus=2", *where,
                f"--node-ip-address={host.ip}", f"--resources={json.dumps({host.name: 10})}",
                "--disable-usage-stats", RAY_AUTH_MODE="disabled",
            )
        )  # fmt: skip
        for stream in (started[-1].stdout, started[-1].stderr):
            os.set_blocking(stream.fileno(), False)  # type: ignore[union-attr]
    try:
        yield f"{directory}/python", address
    finally:
        for process in reversed(started):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def _round(
    network: Any, module: str, ray: str, seconds: float
) -> tuple[dict[str, float], dict[str, str]]:
    """Run the program once: the figure of each row, and what the module is."""
    with network.network(2) as hosts:
        cluster = _ray(hosts, ray) if module == "ray" else _ours(network, hosts)
        with cluster as (python, address):
            process = hosts[0].start(
                python, PROGRAM, module, address, hosts[1].name, str(seconds),
                RAY_AUTH_MODE="disabled",
            )  # fmt: skip
            out: str = network.ended(process, LIMIT)
    said = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    rows = {line["row"]: line["value"] for line in said if "row" in line}
    return rows, next(line["module"] for line in said if "module" in line)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run it all and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ray", default="", help="the bin directory of Ray's environment")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="for each row")
    parser.add_argument("--output", default="", help="JSON file to write")
    options = parser.parse_args(arguments)
    network = _network()
    if why := network.why_not():
        sys.exit(why)
    modules = ["ray_on_dask", *(["ray"] if options.ray else [])]
    figures: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    versions: dict[str, dict[str, str]] = {}
    for _ in range(options.rounds):
        for module in modules:
            rows, versions[module] = _round(network, module, options.ray, options.seconds)
            for row, value in rows.items():
                figures[row][module].append(value)
    document = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": machine(),
        "settings": {"suite": SUITE, "rounds": options.rounds, "seconds": options.seconds},
        "modules": versions,
        "rows": [
            {"row": row, **{module: statistics.median(x) for module, x in by_module.items()}}
            for row, by_module in figures.items()
        ],
    }
    for line in document["rows"]:
        title, *figured = cells(line)
        print(f"{title:45}", *(f"{cell:>12}" for cell in figured))
    if options.output:
        Path(options.output).write_text(json.dumps(document, indent=1) + "\n")


def cells(line: dict[str, Any]) -> list[str]:
    """Give one row of a table: what it is, the figures, how many times Ray's the project's is."""
    ours, theirs = line.get(PROJECT), line.get(ANCHOR)
    ratio = f"{ours / theirs:.1f}" if ours and theirs else NOTHING
    return [line["row"], *(_figure(x) for x in (theirs, ours)), ratio]


def _figure(value: float | None) -> str:
    if value is None:
        return NOTHING
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


if __name__ == "__main__":
    main()
