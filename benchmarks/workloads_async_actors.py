"""Actors with coroutine methods."""

from __future__ import annotations

from typing import Any

from benchmarks.meter import Meter
from benchmarks.registry import rate, workload
from benchmarks.workloads_actors import BATCH, SERVERS, many_to_many


def async_server_class(ray: Any) -> Any:
    """Define the actor whose coroutines answer with two bytes."""

    @ray.remote
    class AsyncServer:
        async def small(self) -> bytes:
            return b"ok"

        async def small_with(self, _value: object) -> bytes:
            return b"ok"

    return AsyncServer


@workload(rate("async_actor_sync", "async actor, one at a time", goal=8))
def async_actor_one_at_a_time(ray: Any, meter: Meter) -> float:
    """Call an async actor and get the result before the next call."""
    actor = async_server_class(ray).remote()
    return meter.rate(lambda: ray.get(actor.small.remote()))


@workload(rate("async_actor_batch", "async actor, batch of 1,000", goal=10))
def async_actor_in_batches(ray: Any, meter: Meter) -> float:
    """Call an async actor 1,000 times, then get all results."""
    actor = async_server_class(ray).remote()
    return meter.rate(lambda: ray.get([actor.small.remote() for _ in range(BATCH)]), BATCH)


@workload(rate("async_actor_args", "async actor, batch with arguments", goal=10))
def async_actor_with_arguments(ray: Any, meter: Meter) -> float:
    """Call an async actor 1,000 times with a number, then get all results."""
    actor = async_server_class(ray).remote()
    return meter.rate(lambda: ray.get([actor.small_with.remote(i) for i in range(BATCH)]), BATCH)


@workload(rate("async_actor_n_to_n", "async actors, n:n", goal=8))
def async_actor_many_to_many(ray: Any, meter: Meter) -> float:
    """Let four tasks call n async actors 5,000 times each."""
    server = async_server_class(ray)
    return many_to_many(ray, meter, [server.remote() for _ in range(SERVERS)])
