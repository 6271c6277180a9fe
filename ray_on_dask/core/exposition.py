"""Metrics as text, in the format that Prometheus reads (version 0.0.4)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

#: What the text is, for the header of an answer.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

#: (suffix of the name, labels, value).
Sample = tuple[str, Mapping[str, str], float]


@dataclass
class Family:
    """All samples of one name: a help text, a kind ("counter", "gauge", "histogram"), values."""

    name: str
    kind: str
    help: str
    samples: list[Sample] = field(default_factory=list)

    def add(self, value: float, suffix: str = "", /, **labels: str) -> None:
        """One more sample."""
        self.samples.append((suffix, labels, value))

    def add_histogram(
        self, boundaries: Iterable[float], counts: Iterable[int], total: float, /, **labels: str
    ) -> None:
        """A histogram: how many values fell into each bucket alone, and the sum of all values."""
        seen = 0
        bounds = [*boundaries, math.inf]
        for bound, count in zip(bounds, counts, strict=True):
            seen += count
            self.add(seen, "_bucket", **{**labels, "le": number(bound)})
        self.add(total, "_sum", **labels)
        self.add(seen, "_count", **labels)

    def lines(self) -> Iterable[str]:
        """The family as text."""
        if self.help:
            yield f"# HELP {self.name} {_escaped_help(self.help)}"
        yield f"# TYPE {self.name} {self.kind}"
        for suffix, labels, value in self.samples:
            pairs = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
            yield f"{self.name}{suffix}{'{' + pairs + '}' if pairs else ''} {number(value)}"


def exposition(families: Iterable[Family]) -> str:
    """The families as one text."""
    return "".join(f"{line}\n" for family in families for line in family.lines())


def number(value: float) -> str:
    """A number as Prometheus reads it."""
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if math.isnan(value):
        return "NaN"
    return repr(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _escaped_help(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")
