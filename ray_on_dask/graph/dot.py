"""A graph in the language of Graphviz."""

from __future__ import annotations

from ray_on_dask.graph.model import LAUNCHED, OBJECT, Graph
from ray_on_dask.graph.svg import COLORS


def dot(graph: Graph) -> str:
    """The graph as dot text: boxes for tasks, ovals for objects, dashed lines for launches."""
    out = ["digraph computation {", '  node [fontname="Helvetica", fontsize=11, style=filled];']
    for node in graph.nodes.values():
        shape = "oval" if node.kind == OBJECT else "box"
        fill, border = COLORS[node.kind]
        out.append(
            f'  "{_name(node.id)}" [label="{_escaped(node.text)}", shape={shape}, '
            f'fillcolor="{fill}", color="{border}"];'
        )
    for (source, target, kind), count in graph.edges.items():
        style = "dashed" if kind == LAUNCHED else "solid"
        label = f', label="{count:,}"' if count > 1 else ""
        out.append(f'  "{_name(source)}" -> "{_name(target)}" [style={style}{label}];')
    return "\n".join([*out, "}\n"])


def _name(id: str) -> str:
    return "op-root" if id == "root" else _escaped(id)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
