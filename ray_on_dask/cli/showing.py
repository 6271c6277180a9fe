"""How answers are printed: tables for people, JSON or YAML for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any

import click

Rows = list[dict[str, Any]]

#: Width of a table that goes to a file or a pipe: nothing is wrapped or cut there.
_WIDE = 4_000


def format_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--format`` of a command, as its argument `form`."""
    return click.option(
        "--format", "form", type=click.Choice(["table", "json", "yaml"]), default="table",
        show_default=True, help="How to print it.",
    )(command)  # fmt: skip


def show(rows: Any, columns: list[str], form: str) -> None:
    """Print rows: of a table these columns alone, if they are there."""
    if form == "json":
        click.echo(json.dumps(rows, indent=2, default=plain))
    elif form == "yaml":
        import yaml

        text = json.dumps(rows, default=plain)
        click.echo(yaml.safe_dump(json.loads(text), sort_keys=False), nl=False)
    else:
        click.echo(table(rows, columns) if rows else "none")


def table(rows: Rows, columns: list[str]) -> str:
    """Rows as text under their columns' names, as wide as the terminal."""
    import io

    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    made = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name in columns:
        numbers = all(isinstance(row.get(name), int | float | None) for row in rows)
        made.add_column(name.upper().replace("_", " "), justify="right" if numbers else "left")
    for row in rows:
        made.add_row(*(cell(row.get(name), name).replace("[", r"\[") for name in columns))
    terminal = sys.stdout.isatty()
    console = Console(
        file=io.StringIO(), force_terminal=terminal, width=None if terminal else _WIDE,
        highlight=False,
    )  # fmt: skip
    console.print(made)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in text.strip("\n").splitlines())


def cell(value: Any, name: str = "") -> str:
    """One value as it stands in a table."""
    if value is None or value == "":
        return "-"
    if name.endswith(("memory", "object_size")) and isinstance(value, int | float):
        return size(value)
    if name.endswith("_ms") or name in ("start_time", "end_time"):
        return f"{datetime.fromtimestamp(value / 1000):%Y-%m-%d %H:%M:%S}" if value else "-"
    if name == "timestamp":
        return f"{datetime.fromtimestamp(value):%Y-%m-%d %H:%M:%S}"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return ", ".join(f"{key}={cell(item, key)}" for key, item in value.items()) or "-"
    return str(value).replace("\n", " ")[:100]


def size(count: float) -> str:
    """A number of bytes for people."""
    for unit in ("B", "KiB", "MiB"):
        if abs(count) < 1024:
            return f"{count:.4g} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def plain(value: Any) -> Any:
    """What JSON has no form for."""
    if hasattr(value, "asdict"):
        return value.asdict()
    return value.hex() if isinstance(value, bytes) else str(value)
