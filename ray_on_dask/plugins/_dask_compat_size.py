"""The part of `_dask_compat` that has to do with the size of a cluster."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from ray_on_dask.plugins._dask_compat import CLIENT


def extend_adaptive_target(scheduler: Any, wanted: Callable[[], int]) -> None:
    """Have `cluster.adapt()` learn of at least so many workers."""

    def adaptive_target(target_duration: Any = None) -> int:
        return max(int(scheduler.adaptive_target(target_duration=target_duration)), wanted())

    scheduler.handlers["adaptive_target"] = adaptive_target


def around_retiring(
    scheduler: Any,
    prepare: Callable[[list[str]], Awaitable[None]],
    then: Callable[[str, str], Any],
) -> None:
    """Await `prepare(addresses)` before workers are retired; of those that stay, call `then`."""

    async def retire_workers(workers: Any = None, names: Any = None, **options: Any) -> Any:
        if names is not None:
            wanted = {str(name) for name in names}
            workers = [at for at, x in scheduler.workers.items() if str(x.name) in wanted]
        elif workers is None:
            criteria = options.keys() - {"close_workers", "remove", "stimulus_id"}
            workers = scheduler.workers_to_close(**{name: options.pop(name) for name in criteria})
        await prepare([address for address in workers if address in scheduler.workers])
        try:
            return await scheduler.retire_workers(workers=workers, **options)
        finally:
            for state in filter(None, map(scheduler.workers.get, workers)):
                then(state.address, state.status.name)

    scheduler.handlers["retire_workers"] = retire_workers


def has_only_copies(scheduler: Any, address: str) -> bool:
    """Whether a worker has an object of ours that no other has."""
    state = scheduler.workers.get(address)
    ours = scheduler.clients.get(CLIENT)
    if state is None or ours is None:
        return False
    return any(len(task.who_has) == 1 and ours in task.who_wants for task in state.has_what)
