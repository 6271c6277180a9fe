"""Hands GPUs out by id, and only when the process that had one before is gone."""

from __future__ import annotations

from collections.abc import Callable

from ray_on_dask.core.gpus import GpuId, Gpus


class GpuDesk:
    """The GPUs of a node.

    Libraries keep a GPU's memory until their process exits. So a process that ends with its lease
    (`max_calls`) keeps its ids until then, and the lease that is to have them next waits for it.
    """

    def __init__(self, ids: list[GpuId]):
        self.gpus = Gpus.of(ids)
        self._waiting: dict[int, tuple[int, Callable[[list[GpuId]], None]]] = {}
        self._kept: dict[str, list[int]] = {}

    def want(self, lease: int, units: int, then: Callable[[list[GpuId]], None]) -> None:
        """Call `then(ids)` as soon as there are so many for a lease: now, or later."""
        if not units:
            then([])
            return
        self._waiting[lease] = (units, then)
        self._serve()

    def _serve(self) -> None:
        for lease, (units, then) in list(self._waiting.items()):
            ids = self.gpus.take(lease, units) if lease in self._waiting else None
            if ids is not None:
                del self._waiting[lease]
                then(ids)

    def give(self, lease: int) -> None:
        """A lease is over, and no process that it had needs its GPUs."""
        self._waiting.pop(lease, None)
        self.gpus.give(lease)
        self._serve()

    def keep(self, process: str, lease: int) -> None:
        """A lease is over, but its process holds its GPUs until it is gone."""
        self._kept.setdefault(process, []).append(lease)

    def gone(self, process: str) -> None:
        """A process has ended."""
        for lease in self._kept.pop(process, ()):
            self.give(lease)
