"""How many leases a second the control store grants: the state machine alone, no I/O.

A thousand simulated nodes of 64 CPUs. ``python -m benchmarks.lease_grants`` prints a line for
each case:

- ``fill``: an empty cluster, 100 owners that want all of it.
- ``churn``: a full one with demand waiting; leases end in random order and are granted anew.
- ``crowd``: the same with 1,000 owners that lack leases.
- ``messages``: ``churn`` through `ControlStore`, with the messages in and out.
"""

from __future__ import annotations

import cProfile
import random
import sys
from collections.abc import Callable
from time import process_time
from typing import Any

from ray_on_dask.core.control import ControlStore, NodeFacts
from ray_on_dask.core.leases import Grant, Lease, Leases
from ray_on_dask.core.resources import UNITS
from ray_on_dask.wire import messages as m

NODES = 1_000
CPUS = 64
#: Leases that end and are granted anew in a case.
CHURN = 20_000
ONE_CPU = m.SchedulingClass({"CPU": UNITS})


def cluster() -> Leases:
    """A thousand nodes, all free."""
    leases = Leases()
    for number in range(NODES):
        leases.add_node(f"n{number}", {"CPU": CPUS * UNITS}, 1.0)
    return leases


def want(leases: Leases, owners: int, each: int) -> None:
    """Have so many owners want so many leases each."""
    for owner in range(owners):
        home = f"n{owner * 7 % NODES}"
        leases.demand(f"o{owner}", 1, each, 2.0, spec=ONE_CPU, home=home)


def fill() -> tuple[int, float]:
    """Grants, and the seconds that they took."""
    leases = cluster()
    start = process_time()
    want(leases, 100, NODES * CPUS // 100)
    return len(leases.leases), process_time() - start


def end_some(leases: Leases) -> tuple[int, float]:
    """End leases in random order; the grants that follow, and their seconds."""
    chosen = random.Random(1)
    living = list(leases.leases)
    granted = 0
    start = process_time()
    for step in range(CHURN):
        at = chosen.randrange(len(living))
        for decision in leases.ended(living[at], 3.0 + step * 1e-4):
            if type(decision) is Grant:
                living[at] = decision.lease.id
                granted += 1
    return granted, process_time() - start


def churn() -> tuple[int, float]:
    """A full cluster, 100 owners that lack leases."""
    leases = cluster()
    want(leases, 100, 2 * NODES * CPUS // 100)
    return end_some(leases)


def crowd() -> tuple[int, float]:
    """A full cluster, 1,000 owners that lack leases."""
    leases = cluster()
    want(leases, 1_000, 2 * NODES * CPUS // 1_000)
    return end_some(leases)


def messages() -> tuple[int, float]:
    """A full cluster behind a control store: `LeaseEnded` in, `StartLease` and `Granted` out."""
    store = ControlStore(lambda kind, facts: b"")
    for number in range(NODES):
        store.node_up(facts_of(f"n{number}"), 1.0)
    living: list[Lease] = []
    for owner in range(100):
        name, node = f"o{owner}", f"n{owner * 7 % NODES}"
        store.joined(node, m.Hello(name, "driver", 1), 1.0)
        demand = m.Demand(1, 2 * NODES * CPUS // 100, ONE_CPU)
        living += started(store, store.handle(name, demand, 2.0))
    chosen, granted = random.Random(1), 0
    start = process_time()
    for step in range(CHURN):
        at = chosen.randrange(len(living))
        out = store.handle(living[at].executor, m.LeaseEnded(living[at].id), 3.0 + step * 1e-4)
        for lease in started(store, out):
            living[at] = lease
            granted += 1
    return granted, process_time() - start


def facts_of(name: str) -> NodeFacts:
    """A node of a host of its own."""
    resources = {"CPU": CPUS * UNITS}
    return NodeFacts(name, f"tcp://{name}", "", name, name, "", "", "", 1, resources)


def started(store: ControlStore, out: list[Any]) -> list[Lease]:
    """Answer each `StartLease` as its node would; the leases."""
    found = []
    for send in out:
        if type(send.message) is m.StartLease:
            number = send.message.lease
            word = m.LeaseStarted(number, f"x{number}", "", 1)
            store.handle(send.to, word, 2.0)
            found.append(store.leases.leases[number])
    return found


CASES: dict[str, Callable[[], tuple[int, float]]] = {
    "fill": fill, "churn": churn, "crowd": crowd, "messages": messages,
}  # fmt: skip


def main(arguments: list[str]) -> None:
    """Run the cases named, or all; ``--profile`` says where the time goes."""
    profiled = "--profile" in arguments
    for name in [name for name in arguments if name in CASES] or list(CASES):
        profile = cProfile.Profile()
        if profiled:
            profile.enable()
        granted, seconds = CASES[name]()
        profile.disable()
        print(f"{name:9} {granted:7,} grants {granted / seconds:10,.0f} /s", flush=True)
        if profiled:
            profile.print_stats("tottime")


if __name__ == "__main__":
    main(sys.argv[1:])
