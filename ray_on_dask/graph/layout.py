"""Where each node of a graph goes: in layers from the script downwards, with few crossings.

After Sugiyama: edges that would lead back are turned around, each node goes one layer below the
lowest that leads to it, and within its layer near the middle of its neighbours.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import dataclass

from ray_on_dask.graph.model import Graph

#: Pixels: of a letter, around a text, between nodes side by side, between layers.
LETTER, PADDING, HEIGHT, GAP, LAYER = 7.2, 22, 30, 26, 76
#: Sweeps over the layers.
SWEEPS = 8
#: Nodes in one row; a layer with more takes several.
ROW_MAX = 40
#: Width of the place that a long edge has in each layer that it crosses, and the most of those:
#: beyond it long edges go straight, whatever they cross.
LANE, LANES_MAX = 10.0, 2_000

Edge = tuple[str, str]


@dataclass
class Box:
    """A node's place: its middle, and its size."""

    x: float
    y: float
    width: float
    height: float = HEIGHT


@dataclass
class Layout:
    """All places, and the size of the whole."""

    boxes: dict[str, Box]
    width: float
    height: float
    #: Points that an edge goes by on its way downwards.
    bends: dict[Edge, list[tuple[float, float]]]


def lay_out(graph: Graph) -> Layout:
    """The places of a graph's nodes."""
    edges = _forward(graph)
    rows = _rows(graph, edges)
    lanes = _lanes(rows, edges)
    short = [edge for edge in edges if edge not in lanes]
    for (source, target), names in lanes.items():
        path = [source, *names, target]
        short += itertools.pairwise(path)
    _order(rows, short)
    layout = _place(graph, rows)
    for edge, names in lanes.items():
        middles = [layout.boxes.pop(name) for name in names]
        layout.bends[edge] = [(box.x, box.y) for box in middles]
    return layout


def _lanes(rows: list[list[str]], edges: list[Edge]) -> dict[Edge, list[str]]:
    """A place in each layer that a long edge crosses, added to the rows."""
    layer = {node: index for index, row in enumerate(rows) for node in row}
    spans = {edge: layer[edge[1]] - layer[edge[0]] - 1 for edge in edges}
    if sum(spans.values()) > LANES_MAX:
        return {}
    lanes: dict[Edge, list[str]] = {}
    for number, (edge, span) in enumerate(spans.items()):
        if span > 0:
            lanes[edge] = [f"~{number}.{step}" for step in range(span)]
            for step, name in enumerate(lanes[edge]):
                rows[layer[edge[0]] + 1 + step].append(name)
    return lanes


def _forward(graph: Graph) -> list[Edge]:
    """The edges without loops, and with those turned around that would close a circle."""
    children: dict[str, list[str]] = defaultdict(list)
    for source, target, _ in graph.edges:
        if source != target and target not in children[source]:
            children[source].append(target)
    state: dict[str, int] = {}
    out: list[Edge] = []
    for start in graph.nodes:
        if start in state:
            continue
        state[start] = 1
        stack = [(start, iter(children[start]))]
        while stack:  # depth first, without recursion: chains are long
            node, rest = stack[-1]
            child = next(rest, None)
            if child is None:
                state[node] = 2
                stack.pop()
            elif state.get(child) == 1:
                out.append((child, node))  # it is above: turned around
            else:
                out.append((node, child))
                if child not in state:
                    state[child] = 1
                    stack.append((child, iter(children[child])))
    return list(dict.fromkeys(out))


def _rows(graph: Graph, edges: list[Edge]) -> list[list[str]]:
    """The nodes by layers, each below all that lead to it."""
    after: dict[str, list[str]] = defaultdict(list)
    missing = dict.fromkeys(graph.nodes, 0)
    for source, target in edges:
        after[source].append(target)
        missing[target] += 1
    layer = dict.fromkeys(graph.nodes, 0)
    todo = [node for node, count in missing.items() if not count]
    for node in todo:  # grows as nodes become free
        for child in after[node]:
            layer[child] = max(layer[child], layer[node] + 1)
            missing[child] -= 1
            if not missing[child]:
                todo.append(child)
    rows: list[list[str]] = [[] for _ in range(max(layer.values(), default=0) + 1)]
    for node in graph.nodes:
        rows[layer[node]].append(node)
    return rows


def _order(rows: list[list[str]], edges: list[Edge]) -> None:
    """Sort each row by the middle of the neighbours above, then below, and so on."""
    above: dict[str, list[str]] = defaultdict(list)
    below: dict[str, list[str]] = defaultdict(list)
    for source, target in edges:
        above[target].append(source)
        below[source].append(target)
    at = {node: index / max(1, len(row) - 1) for row in rows for index, node in enumerate(row)}
    for sweep in range(SWEEPS):
        near = above if sweep % 2 == 0 else below
        for row in rows if sweep % 2 == 0 else reversed(rows):
            middles = {
                node: sum(at[x] for x in near[node]) / len(near[node]) if near[node] else at[node]
                for node in row
            }
            row.sort(key=middles.__getitem__)
            at |= {node: index / max(1, len(row) - 1) for index, node in enumerate(row)}


def _place(graph: Graph, rows: list[list[str]]) -> Layout:
    broken = [row[i : i + ROW_MAX] for row in rows for i in range(0, len(row), ROW_MAX)]
    widths = {name: LANE for row in rows for name in row}
    widths |= {node.id: len(node.text) * LETTER + PADDING for node in graph.nodes.values()}
    spans = [sum(widths[x] for x in row) + GAP * (len(row) - 1) for row in broken]
    width = max(spans, default=0.0) + 2 * GAP
    boxes: dict[str, Box] = {}
    for index, (row, span) in enumerate(zip(broken, spans, strict=True)):
        x, spread = (width - span) / 2, 0.0
        if len(row) > 1 and span < width * 0.8:  # thin rows take some of the room that there is
            spread = (width * 0.8 - span) / (len(row) - 1)
            x = width * 0.1
        for node in row:
            boxes[node] = Box(x + widths[node] / 2, GAP + HEIGHT / 2 + index * LAYER, widths[node])
            x += widths[node] + GAP + spread
    height = (len(broken) - 1) * LAYER + HEIGHT + 2 * GAP if broken else 0.0
    return Layout(boxes, width, height, {})
