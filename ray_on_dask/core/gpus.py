"""Which GPUs a lease gets: whole ones for itself, a fraction of one beside others."""

from __future__ import annotations

from dataclasses import dataclass, field

from ray_on_dask.core.resources import UNITS

#: A number, or the UUID of a GPU or of a part of one (MIG), as CUDA takes them.
GpuId = int | str


@dataclass(slots=True)
class Gpus:
    """The GPUs of one node, by id.

    A demand of a whole number takes so many that nobody uses; a fraction takes part of one,
    of the first that has enough left, so that whole ones stay free for those who need them.
    """

    #: {id: units free}.
    free: dict[GpuId, int] = field(default_factory=dict)
    _held: dict[int, dict[GpuId, int]] = field(default_factory=dict)

    @classmethod
    def of(cls, ids: list[GpuId]) -> Gpus:
        """All of these, free."""
        return cls({id: UNITS for id in ids})

    def take(self, lease: int, units: int) -> list[GpuId] | None:
        """The ids for a lease of `units`; None while they are not free."""
        if units <= 0:
            return []
        if units < UNITS:
            part = [id for id, left in self.free.items() if UNITS > left >= units]
            chosen = (part or [id for id, left in self.free.items() if left >= units])[:1]
            taken = dict.fromkeys(chosen, units)
        else:
            whole = [id for id, left in self.free.items() if left == UNITS]
            chosen = whole[: units // UNITS]
            taken = dict.fromkeys(chosen, UNITS)
        if len(chosen) < max(1, units // UNITS):
            return None
        for id, amount in taken.items():
            self.free[id] -= amount
        self._held[lease] = taken
        return list(taken)

    def give(self, lease: int) -> None:
        """The lease is over."""
        for id, amount in self._held.pop(lease, {}).items():
            self.free[id] += amount

    def validate(self) -> None:
        """Assert that nothing is handed out twice."""
        used: dict[GpuId, int] = dict.fromkeys(self.free, 0)
        for taken in self._held.values():
            for id, amount in taken.items():
                used[id] += amount
        assert all(self.free[id] == UNITS - used[id] >= 0 for id in self.free)
