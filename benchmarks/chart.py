"""A picture of a run: how many times better than Ray each row is, and its goal."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import Any

#: {whether the goal is met: colour of the bar}; None is a row without a goal.
COLOURS = {True: "tab:green", False: "tab:red", None: "tab:gray"}


def available() -> bool:
    """Tell whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def times_better(line: dict[str, Any], ratio: float) -> float:
    """Turn a ratio into how many times better it is, whichever way the row counts."""
    return ratio if line["better"] == "higher" else 1 / ratio


def draw(lines: Iterable[dict[str, Any]], path: Path) -> bool:
    """Draw the rows that have a ratio into `path` (PNG or SVG, by its suffix).

    Returns
    -------
    bool
        False if there is nothing to draw; no file is written then.
    """
    shown = [line for line in lines if line["ratio"] and not line["absolute"]]
    if not shown:
        return False
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.2 + 0.3 * len(shown)), layout="constrained")
    _bars(figure.subplots(), shown[::-1])
    figure.savefig(path, dpi=120)
    return True


def _bars(axes: Any, lines: list[dict[str, Any]]) -> None:
    """Draw one bar a row, with a tick at its goal."""
    places = range(len(lines))
    factors = [times_better(line, line["ratio"]) for line in lines]
    colours = [COLOURS[line["met"]] for line in lines]
    axes.barh(places, [factor - 1 for factor in factors], left=1, color=colours, height=0.6)
    for place, line in zip(places, lines, strict=True):
        if line["goal"] is not None:
            goal = times_better(line, line["goal"])
            axes.plot([goal, goal], [place - 0.4, place + 0.4], color="black", linewidth=2)
    axes.set_yticks(places, [line["title"] for line in lines])
    axes.set_xscale("log")
    axes.margins(y=0.01)
    axes.axvline(1, color="grey", linewidth=0.8)
    axes.set_xlabel("times better than Ray in the same run (black: goal)")
