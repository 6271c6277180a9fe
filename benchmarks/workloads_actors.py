"""Actors with plain methods: calls of one caller and of several, creation."""

from __future__ import annotations

import os
from typing import Any

from benchmarks.meter import Meter
from benchmarks.registry import Suite, rate, workload

BATCH = 1_000
FAN_OUT_CALLS = 5_000
ARGUMENT_CALLS = 1_000
CALLERS = 4
CREATED = 10
#: How many actors serve in the 1:n and n:n rows, as in Ray's own suite.
SERVERS = max(1, (os.cpu_count() or 2) // 2)


def server_class(ray: Any) -> Any:
    """Define the actor that answers with two bytes."""

    @ray.remote(num_cpus=0)
    class Server:
        def small(self) -> bytes:
            return b"ok"

        def small_with(self, _value: object) -> bytes:
            return b"ok"

    return Server


def client_class(ray: Any) -> Any:
    """Define the actor that calls others."""

    @ray.remote(num_cpus=0)
    class Client:
        def __init__(self, servers: list[Any]) -> None:
            self.servers = servers

        def call(self, n: int) -> None:
            ray.get([server.small.remote() for server in self.servers for _ in range(n)])

        def call_with_ref(self, n: int) -> None:
            ref = ray.put(0)
            ray.get([server.small_with.remote(ref) for server in self.servers for _ in range(n)])

    return Client


def many_to_many(ray: Any, meter: Meter, servers: list[Any]) -> float:
    """Let four tasks call the same servers 5,000 times each; give calls per second."""

    @ray.remote
    def call(servers: list[Any], n: int) -> None:
        ray.get([servers[i % len(servers)].small.remote() for i in range(n)])

    def step(n: int = FAN_OUT_CALLS) -> None:
        ray.get([call.remote(servers, n) for _ in range(CALLERS)])

    return meter.rate(step, CALLERS * FAN_OUT_CALLS, warm_up=lambda: step(100))


@workload(
    rate("actor_sync", "actor calls, one at a time", goal=10, published=1960),
    suite=Suite.QUICK,
)
def actor_one_at_a_time(ray: Any, meter: Meter) -> float:
    """Call an actor and get the result before the next call."""
    actor = server_class(ray).remote()
    return meter.rate(lambda: ray.get(actor.small.remote()))


@workload(
    rate("actor_batch", "actor calls, batch of 1,000", goal=12, published=8220),
    suite=Suite.QUICK,
)
def actor_in_batches(ray: Any, meter: Meter) -> float:
    """Call an actor 1,000 times, then get all results."""
    actor = server_class(ray).remote()
    return meter.rate(lambda: ray.get([actor.small.remote() for _ in range(BATCH)]), BATCH)


@workload(rate("actor_concurrent", "actor calls, max_concurrency=16", goal=8))
def actor_concurrent(ray: Any, meter: Meter) -> float:
    """Call an actor with 16 threads 1,000 times, then get all results."""
    actor = server_class(ray).options(max_concurrency=16).remote()
    return meter.rate(lambda: ray.get([actor.small.remote() for _ in range(BATCH)]), BATCH)


@workload(rate("actor_1_to_n", "1:n actor calls", goal=8))
def actor_one_to_many(ray: Any, meter: Meter) -> float:
    """Let one actor call n others 5,000 times each."""
    servers = [server_class(ray).remote() for _ in range(SERVERS)]
    client = client_class(ray).remote(servers)

    def step(n: int = FAN_OUT_CALLS) -> None:
        ray.get(client.call.remote(n))

    return meter.rate(step, FAN_OUT_CALLS * SERVERS, warm_up=lambda: step(100))


@workload(rate("actor_n_to_n", "n:n actor calls", goal=6))
def actor_many_to_many(ray: Any, meter: Meter) -> float:
    """Let four tasks call n actors 5,000 times each."""
    server = server_class(ray)
    return many_to_many(ray, meter, [server.remote() for _ in range(SERVERS)])


@workload(rate("actor_n_to_n_ref", "n:n actor calls with a ref argument", goal=8))
def actor_many_to_many_with_ref(ray: Any, meter: Meter) -> float:
    """Let n actors call one actor each, 1,000 times, with a ref to a small value."""
    server, client = server_class(ray), client_class(ray)
    clients = [client.remote([server.remote()]) for _ in range(SERVERS)]

    def step() -> None:
        ray.get([c.call_with_ref.remote(ARGUMENT_CALLS) for c in clients])

    return meter.rate(step, ARGUMENT_CALLS * SERVERS)


@workload(rate("actors_created", "actors created and called", goal=40), suite=Suite.QUICK)
def actors_created(ray: Any, meter: Meter) -> float:
    """Create ten actors, call each once, and drop them."""
    server = server_class(ray)

    def step() -> None:
        actors = [server.remote() for _ in range(CREATED)]
        ray.get([actor.small.remote() for actor in actors])

    return meter.rate(step, CREATED, warm_up=lambda: ray.get(server.remote().small.remote()))
