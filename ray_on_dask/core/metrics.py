"""Metrics of users' programs, added up over the cluster."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

#: Combinations of name and tags that are kept; others are dropped.
SERIES_MAX = 10_000


@dataclass(slots=True)
class Series:
    """One metric with one set of tags."""

    kind: str
    name: str
    description: str
    tags: dict[str, str]
    boundaries: list[float]
    #: Of a gauge the last value, of a counter the sum, of a histogram the sum of what was observed.
    value: float = 0.0
    #: Of a histogram: how many observations were within each boundary, and beyond the last.
    counts: list[int] = field(default_factory=list)


class Metrics:
    """Takes what processes have counted since they last told; knows the cluster's sums."""

    def __init__(self) -> None:
        self.series: dict[tuple[Any, ...], Series] = {}

    def record(
        self, kind: str, name: str, description: str, tags: dict[str, str],
        boundaries: list[float], value: float, counts: list[int],
    ) -> None:  # fmt: skip
        """Add what a process has counted; the value of a gauge replaces the last one."""
        key = (kind, name, tuple(sorted(tags.items())), tuple(boundaries))
        series = self.series.get(key)
        if series is None:
            if len(self.series) >= SERIES_MAX:
                return
            series = Series(kind, name, description, dict(tags), boundaries)
            series.counts = [0] * len(counts)
            self.series[key] = series
        series.value = value if kind == "gauge" else series.value + value
        series.counts = [a + b for a, b in zip(series.counts, counts, strict=True)]

    def listed(self) -> list[dict[str, Any]]:
        """All series, in the order in which they came up."""
        return [
            {
                "kind": x.kind, "name": x.name, "description": x.description, "tags": x.tags,
                "boundaries": x.boundaries, "value": x.value, "counts": x.counts,
            }
            for x in self.series.values()
        ]  # fmt: skip
