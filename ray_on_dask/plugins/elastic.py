"""What Dask does to a cluster's size, and what this package's work has to say about it.

Dask asks its scheduler how many workers there should be (`cluster.adapt()`), which of them it may
close, and whether it is idle (``--idle-timeout``). It knows of its own tasks alone: here leases,
actors, placement groups, objects and drivers are added. A worker that Dask retires gets nothing
new, and is left time to finish what it runs.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

from ray_on_dask.config import number
from ray_on_dask.core.control import ControlStore
from ray_on_dask.core.instructions import Send
from ray_on_dask.core.scaling import Scaling
from ray_on_dask.plugins import _dask_compat as dask, _dask_compat_size as dask_size
from ray_on_dask.plugins.handing_over import HandingOver
from ray_on_dask.wire import messages as m

logger = logging.getLogger("ray_on_dask")

#: Seconds between two looks whether a node that is about to be retired runs anything.
LOOK = 0.02


class Elastic:
    """Joins the control store's view of the cluster's size with the scheduler's.

    Parameters
    ----------
    scheduler : distributed.Scheduler
    store : ControlStore
    addresses : dict
        {node: address of its Dask worker}, kept up to date by the plugin.
    dispatch : callable
        Carries the store's instructions out.
    """

    def __init__(
        self, scheduler: Any, store: ControlStore, addresses: dict[str, str],
        dispatch: Callable[[list[Any]], None],
    ):  # fmt: skip
        self.scheduler = scheduler
        self.store = store
        self.scaling = Scaling(store)
        self.addresses = addresses
        self.dispatch = dispatch
        self.drain_timeout = number("drain-timeout", 30.0)
        dask_size.extend_adaptive_target(scheduler, self.workers_wanted)
        #: Workers that are being made ready to go, whatever is said of their status.
        self._leaving: set[str] = set()
        self.handing = HandingOver(store, dispatch, lambda key: key in scheduler.tasks)
        dask_size.around_retiring(
            scheduler, self.make_ready_to_go, self.objects_moved, self.status_changed
        )
        store.extra["request_resources"] = self._request

    def _request(self, sender: str, num_cpus: int, bundles: list[dict[str, float]]) -> None:
        self.scaling.request(num_cpus, bundles)

    def busy(self) -> set[str]:
        """The nodes that must stay."""
        sole = {
            name
            for name, x in self.addresses.items()
            if dask_size.has_only_copies(self.scheduler, x)
        }
        return self.scaling.busy() | sole

    def workers_wanted(self) -> int:
        """How many workers this package's work wants."""
        return self.scaling.nodes_wanted(time.monotonic(), self.busy())

    def may_close(self, workers: list[Any]) -> list[Any]:
        """Those of some Dask workers (`WorkerState`) that are not busy."""
        busy = {self.addresses[name] for name in self.busy() if name in self.addresses}
        return [worker for worker in workers if worker.address not in busy]

    def status_changed(self, address: str, status: str) -> None:
        """A Dask worker is running, paused, or about to close."""
        for name in self._names([address] if address not in self._leaving else ()):
            if status == "paused":
                self.store.leases.drain_node(name)
            else:
                self._drain(name, status != "running")

    def _drain(self, name: str, draining: bool) -> None:
        now = time.monotonic()
        self.dispatch(self.store._settle(self.scaling.drain(name, draining, now), now))
        if not draining:
            self.handing.stays(name)

    def _names(self, addresses: Iterable[str]) -> list[str]:
        wanted = set(addresses)
        return [name for name, address in self.addresses.items() if address in wanted]

    async def make_ready_to_go(self, addresses: list[str]) -> None:
        """Workers are about to be retired: return when nothing there ends with them.

        Tasks and drivers are waited for, drivers only if there is another node for them; or it
        takes too long.
        """
        names = self._names(addresses)
        uses = self.scaling.runs_tasks
        if self.scaling.others_than(names):
            self._tell_drivers(names)
            uses = self._in_use
        self._leaving.update(addresses)
        try:
            for name in names:
                self._drain(name, True)
            deadline = time.monotonic() + self.drain_timeout
            while time.monotonic() < deadline and any(map(uses, names)):
                await asyncio.sleep(LOOK)
        finally:
            self._leaving.difference_update(addresses)
        for name in filter(self.scaling.runs_tasks, names):
            logger.warning("node %s is retired while tasks run there, which are tried again", name)
        await self.handing.make_known(names)

    def _in_use(self, name: str) -> bool:
        return self.scaling.runs_tasks(name) or bool(self.scaling.drivers_on(name))

    def _tell_drivers(self, names: list[str]) -> None:
        text = (
            "The node that this driver hangs on is about to be retired: the session ends with it, "
            f"in {self.drain_timeout:g} seconds (the setting `drain-timeout`) if not before. After "
            "`shutdown`, `init` joins another node."
        )
        drivers = [driver for name in names for driver in self.scaling.drivers_on(name)]
        self.dispatch([Send(driver, m.Infeasible("", text)) for driver in drivers])

    async def objects_moved(self, keys: dict[str, list[str]]) -> None:
        """Dask has moved these keys of workers: return when they are objects elsewhere."""
        names = {address: name for name, address in self.addresses.items()}
        await self.handing.arrived({names.get(x, ""): theirs for x, theirs in keys.items()})

    def tick(self) -> None:
        """To be called each 100 ms or so."""
        if self.scaling.in_use():
            dask.keep_awake(self.scheduler)
