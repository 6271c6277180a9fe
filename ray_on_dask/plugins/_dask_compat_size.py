"""The part of `_dask_compat` that has to do with the size of a cluster."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from ray_on_dask.plugins._dask_compat import CLIENT


def extend_adaptive_target(scheduler: Any, wanted: Callable[[], int]) -> None:
    """Have `cluster.adapt()` learn of at least so many workers."""

    ask = scheduler.adaptive_target

    def adaptive_target(target_duration: Any = None) -> int:
        return max(int(ask(target_duration=target_duration)), wanted())

    # A call from afar, and what Dask's HTTP API asks within this process.
    scheduler.adaptive_target = scheduler.handlers["adaptive_target"] = adaptive_target


def around_retiring(
    scheduler: Any,
    prepare: Callable[[list[str]], Awaitable[None]],
    moved: Callable[[dict[str, list[str]]], Awaitable[None]],
    then: Callable[[str, str], Any],
) -> None:
    """Do more when workers are retired.

    Whoever asks for it, by a call or within this process (as Dask's HTTP API does).
    `prepare(addresses)` is awaited before, and `moved({address: keys})` when Dask has moved keys
    of ours that they had, before they go; `then(address, status)` is called for those that stay.
    """

    retire = scheduler.retire_workers

    async def retire_workers(workers: Any = None, names: Any = None, **options: Any) -> Any:
        if names is not None:
            wanted = {str(name) for name in names}
            workers = [at for at, x in scheduler.workers.items() if str(x.name) in wanted]
        elif workers is None:
            criteria = options.keys() - {"close_workers", "remove", "stimulus_id"}
            workers = scheduler.workers_to_close(**{name: options.pop(name) for name in criteria})
        going = [address for address in workers if address in scheduler.workers]
        await prepare(going)
        gone: Any = {}
        try:
            keys = {address: objects_at(scheduler, address) for address in going}
            if any(keys.values()):
                moving = retire(workers=going, close_workers=False, remove=False)
                going = list(await moving)
                if going:
                    await moved({address: keys[address] for address in going})
            gone = await retire(workers=going, **options)
            return gone
        finally:
            for address in set(going) - set(gone):
                _stay(scheduler, address)
            for state in filter(None, map(scheduler.workers.get, workers)):
                then(state.address, state.status.name)

    scheduler.retire_workers = scheduler.handlers["retire_workers"] = retire_workers


def _stay(scheduler: Any, address: str) -> None:
    """Take back that a worker is about to go: what it has could not be moved."""
    if address in scheduler.stream_comms:
        status = {
            "op": "worker-status-change",
            "status": "running",
            "stimulus_id": f"{CLIENT}-stay",
        }
        scheduler.stream_comms[address].send(status)


def objects_at(scheduler: Any, address: str) -> list[str]:
    """Keys of ours that a worker has."""
    state, ours = scheduler.workers.get(address), scheduler.clients.get(CLIENT)
    if state is None or ours is None:
        return []
    return [task.key for task in state.has_what if ours in task.who_wants]


def has_only_copies(scheduler: Any, address: str) -> bool:
    """Whether a worker has an object of ours that no other has."""
    state = scheduler.workers.get(address)
    ours = scheduler.clients.get(CLIENT)
    if state is None or ours is None:
        return False
    return any(len(task.who_has) == 1 and ours in task.who_wants for task in state.has_what)
