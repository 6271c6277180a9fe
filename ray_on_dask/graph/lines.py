"""Where edges begin and end: at the borders of the boxes, not in their middles."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ray_on_dask.graph.layout import Box, Layout
from ray_on_dask.graph.model import Graph

Point = tuple[float, float]


def edges(graph: Graph, layout: Layout) -> Iterator[tuple[list[Point], str, str]]:
    """(points, kind, label) of each edge between two nodes."""
    pairs = {(source, target) for source, target, _ in graph.edges}
    for (source, target, kind), count in graph.edges.items():
        if source == target:
            continue
        one, other = layout.boxes[source], layout.boxes[target]
        bends = layout.bends.get((source, target), [])
        if not bends:
            bends = layout.bends.get((target, source), [])[::-1]
        first = Box(*bends[0], 0) if bends else other
        last = Box(*bends[-1], 0) if bends else one
        points = [_border(one, first), *bends, _border(other, last)]
        if (target, source) in pairs:
            points = [_aside(point, points) for point in points]
        yield points, kind, f"{count:,}" if count > 1 else ""


def _aside(point: Point, points: list[Point], by: float = 5.0) -> Point:
    """A little to the left of an edge's direction: one that leads back is on the other side."""
    (x, y), (u, v) = points[0], points[-1]
    length = math.hypot(u - x, v - y) or 1.0
    return point[0] + (v - y) / length * by, point[1] - (u - x) / length * by


def middle(points: list[Point]) -> Point:
    """Where a label goes: on the middle of the middle piece."""
    at = (len(points) - 1) // 2
    (x, y), (u, v) = points[at], points[at + 1]
    return (x + u) / 2 + 5, (y + v) / 2


def loops(graph: Graph, layout: Layout) -> Iterator[tuple[Box, str, str]]:
    """(box, kind, label) of each edge from a node to itself."""
    for (source, target, kind), count in graph.edges.items():
        if source == target:
            yield layout.boxes[source], kind, f"{count:,}"


def _border(box: Box, towards: Box) -> Point:
    """Where the line from a box's middle to another's leaves it."""
    dx, dy = towards.x - box.x, towards.y - box.y
    if not dx and not dy:
        return box.x, box.y
    scale = min(
        box.width / 2 / abs(dx) if dx else math.inf, box.height / 2 / abs(dy) if dy else math.inf
    )
    return box.x + dx * scale, box.y + dy * scale


def head(start: Point, end: Point, size: float = 7.0) -> tuple[Point, Point, Point]:
    """The tip of an arrow that ends there."""
    angle = math.atan2(end[1] - start[1], end[0] - start[0])
    left, right = (
        (end[0] - size * math.cos(angle + turn), end[1] - size * math.sin(angle + turn))
        for turn in (0.45, -0.45)
    )
    return end, left, right
