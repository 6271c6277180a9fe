"""The pages of the documentation, taken apart: blocks of code, tables, diagrams."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: Every page that is part of the documentation.
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

_FENCE = re.compile(r"```(\w*)\s*")
_EXEMPTION = re.compile(r"<!--\s*not run:(.*)-->\s*")
_CODE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    language: str
    text: str
    #: The page's line on which the text begins.
    line: int
    #: Why it is not run; None if it is.
    exempt: str | None = None


@dataclass
class Table:
    """A table, with the heading that it stands under."""

    heading: str
    columns: list[str]
    rows: list[dict[str, str]] = field(default_factory=list)


def blocks(text: str) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    lines = text.splitlines()
    exempt, at = None, 0
    while at < len(lines):
        opening = _FENCE.fullmatch(lines[at].strip())
        if opening:
            end = next(i for i in range(at + 1, len(lines)) if lines[i].strip() == "```")
            yield Block(opening[1], "\n".join(lines[at + 1 : end]) + "\n", at + 2, exempt)
            exempt, at = None, end
        elif comment := _EXEMPTION.fullmatch(lines[at].strip()):
            exempt = comment[1].strip()
        elif lines[at].strip():
            exempt = None  # a comment exempts the block that follows it at once
        at += 1


def tables(text: str) -> list[Table]:
    """The tables of a page, in order."""
    found: list[Table] = []
    heading, current = "", None
    for line in text.splitlines():
        if line.startswith("#"):
            heading, current = line.lstrip("#").strip(), None
        elif not line.startswith("|"):
            current = None
        elif current is None:
            current = Table(heading, _cells(line))
            found.append(current)
        elif not set(line) <= set("|-: "):
            current.rows.append(dict(zip(current.columns, _cells(line), strict=True)))
    return found


def table(text: str, heading: str) -> Table:
    """The one table under a heading."""
    (only,) = [one for one in tables(text) if one.heading == heading]
    return only


def names(cell: str) -> list[str]:
    """The names in backticks in a cell."""
    return _CODE.findall(cell)


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]
