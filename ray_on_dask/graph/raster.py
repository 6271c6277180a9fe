"""A graph as pixels, for PNG and PDF, by Pillow (which Bokeh brings along)."""

from __future__ import annotations

import itertools
import math
from typing import Any

from ray_on_dask.graph import lines
from ray_on_dask.graph.layout import Box, Layout
from ray_on_dask.graph.model import LAUNCHED, OBJECT, Graph, Node
from ray_on_dask.graph.svg import COLORS, LINE

#: Pixels for one, and the most that an image may have in one direction.
SCALE, LARGEST = 2.0, 12_000


def image(graph: Graph, layout: Layout) -> Any:
    """The drawing as a `PIL.Image`."""
    from PIL import Image, ImageDraw, ImageFont

    scale = min(SCALE, LARGEST / max(layout.width, layout.height, 1))
    size = max(1, round(layout.width * scale)), max(1, round(layout.height * scale))
    made = Image.new("RGB", size, "white")
    pen = _Pen(ImageDraw.Draw(made), scale, ImageFont.load_default(size=12 * scale))
    for points, kind, label in lines.edges(graph, layout):
        for start, end in itertools.pairwise(points):
            pen.line(start, end, kind == LAUNCHED)
        pen.draw.polygon(pen.scaled(*lines.head(points[-2], points[-1])), fill=LINE)
        if label:
            pen.text(lines.middle(points), label, "lm")
    for box, _, label in lines.loops(graph, layout):
        x = box.x + box.width / 2
        corners = pen.scaled((x - 12, box.y - 11), (x + 18, box.y + 11))
        pen.draw.arc([*corners[0], *corners[1]], -130, 130, fill=LINE)
        pen.text((x + 22, box.y), label, "lm")
    for node in graph.nodes.values():
        pen.node(node, layout.boxes[node.id])
    return made


class _Pen:
    def __init__(self, draw: Any, scale: float, font: Any):
        self.draw, self.scale, self.font = draw, scale, font

    def scaled(self, *points: lines.Point) -> list[tuple[float, float]]:
        return [(x * self.scale, y * self.scale) for x, y in points]

    def line(self, start: lines.Point, end: lines.Point, dashed: bool) -> None:
        length = math.dist(start, end)
        step = 9.0 if dashed else max(length, 1.0)
        dash = 5.0 if dashed else step
        at = 0.0
        while at < length:
            one, other = at / length, min(1.0, (at + dash) / length)
            points = [
                (start[0] + (end[0] - start[0]) * x, start[1] + (end[1] - start[1]) * x)
                for x in (one, other)
            ]
            self.draw.line(self.scaled(*points), fill=LINE, width=max(1, round(self.scale)))
            at += step

    def node(self, node: Node, box: Box) -> None:
        fill, border = COLORS[node.kind]
        x, y = box.width / 2, box.height / 2
        corners = self.scaled((box.x - x, box.y - y), (box.x + x, box.y + y))
        shape = self.draw.ellipse if node.kind == OBJECT else self.draw.rectangle
        shape(corners, fill=fill, outline=border, width=max(1, round(self.scale)))
        self.text((box.x, box.y), node.text, "mm")

    def text(self, at: lines.Point, text: str, anchor: str) -> None:
        text = text.replace("×", "x")  # which Pillow's own font does not have
        self.draw.text(self.scaled(at)[0], text, fill="#111111", font=self.font, anchor=anchor)
