"""A graph as SVG text; needs nothing else."""

from __future__ import annotations

from xml.sax.saxutils import escape

from ray_on_dask.graph import lines
from ray_on_dask.graph.layout import Box, Layout
from ray_on_dask.graph.model import LAUNCHED, OBJECT, SCRIPT, Graph, Node

#: Fill and border of each kind of node.
COLORS = {SCRIPT: ("#ffe8d6", "#c65d1e"), "task": ("#dbeafe", "#1d5fa8"),
          OBJECT: ("#f3f4f6", "#6b7280")}  # fmt: skip
LINE = "#555555"


def svg(graph: Graph, layout: Layout) -> str:
    """The drawing."""
    width, height = round(layout.width), round(layout.height)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="Helvetica, Arial, sans-serif" '
        'font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for points, kind, label in lines.edges(graph, layout):
        out.append(_edge(points, kind, label))
    for box, kind, label in lines.loops(graph, layout):
        out.append(_loop(box, kind, label))
    out += [_node(node, layout.boxes[node.id]) for node in graph.nodes.values()]
    return "\n".join([*out, "</svg>\n"])


def _dash(kind: str) -> str:
    return ' stroke-dasharray="5 4"' if kind == LAUNCHED else ""


def _edge(points: list[lines.Point], kind: str, label: str) -> str:
    tip = " ".join(f"{x:.1f},{y:.1f}" for x, y in lines.head(points[-2], points[-1]))
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    line = (
        f'<polyline points="{path}" fill="none" stroke="{LINE}"{_dash(kind)}/>'
        f'<polygon points="{tip}" fill="{LINE}"/>'
    )
    return line + _text(lines.middle(points), label, "start", LINE) if label else line


def _loop(box: Box, kind: str, label: str) -> str:
    x, y = box.x + box.width / 2, box.y
    right = f"{x + 34:.1f}"
    path = f"M {x:.1f} {y - 7:.1f} C {right} {y - 24:.1f} {right} {y + 24:.1f} {x:.1f} {y + 7:.1f}"
    return (
        f'<path d="{path}" fill="none" stroke="{LINE}"{_dash(kind)}/>'
        + _text((x + 28, y), label, "start", LINE)
    )  # fmt: skip


def _node(node: Node, box: Box) -> str:
    fill, border = COLORS[node.kind]
    style = f'fill="{fill}" stroke="{border}"'
    if node.kind == OBJECT:
        shape = (
            f'<ellipse cx="{box.x:.1f}" cy="{box.y:.1f}" rx="{box.width / 2:.1f}" '
            f'ry="{box.height / 2:.1f}" {style}/>'
        )
    else:
        shape = (
            f'<rect x="{box.x - box.width / 2:.1f}" y="{box.y - box.height / 2:.1f}" rx="3" '
            f'width="{box.width:.1f}" height="{box.height:.1f}" {style}/>'
        )
    return shape + _text((box.x, box.y), node.text, "middle", "#111111")


def _text(at: lines.Point, text: str, anchor: str, color: str) -> str:
    return (
        f'<text x="{at[0]:.1f}" y="{at[1] + 4:.1f}" text-anchor="{anchor}" fill="{color}">'
        f"{escape(text)}</text>"
    )
