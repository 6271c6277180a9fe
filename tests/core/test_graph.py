"""Drawings of task graphs: records in, places and text out."""

from __future__ import annotations

import itertools
from typing import Any
from xml.etree import ElementTree

from hypothesis import given, settings, strategies as st

from ray_on_dask.core import task_graph
from ray_on_dask.core.task_graph import GraphRecords
from ray_on_dask.graph.dot import dot
from ray_on_dask.graph.layout import lay_out
from ray_on_dask.graph.model import DATA, LAUNCHED, ROOT, Graph, build
from ray_on_dask.graph.raster import image
from ray_on_dask.graph.svg import svg
from ray_on_dask.ids import index_bytes


def id_of(number: int) -> bytes:
    return b"process." + number.to_bytes(8, "little")


def launched(
    number: int, name: str, parent: int | None = None, arguments: tuple[int, ...] = (),
    kind: str = "task", returns: int = 1, actor: int | None = None,
) -> list[Any]:  # fmt: skip
    return [kind, id_of(number), name, b"" if parent is None else id_of(parent), returns,
            [id_of(x) + index_bytes(0) for x in arguments], b"",
            b"" if actor is None else id_of(actor)]  # fmt: skip


PROGRAM = [
    launched(1, "load"), launched(2, "load"), launched(3, "add", arguments=(1, 2)),
    launched(4, "outer"), launched(5, "load", parent=4),
    launched(6, "Sum", kind="actor", returns=0), launched(7, "Sum.add", kind="call", actor=6,
                                                         arguments=(3,)),
]  # fmt: skip


def test_tasks_objects_and_edges_are_those_of_the_program() -> None:
    graph = build(PROGRAM, 100)
    tasks = {x.id: x.label for x in graph.nodes.values() if x.kind == "task"}
    assert sorted(tasks.values()) == [
        "Sum.add",
        "actor Sum",
        "add",
        "load",
        "load",
        "load",
        "outer",
    ]
    add, outer, inner = (id_of(x).hex() for x in (3, 4, 5))
    assert graph.edges[outer, inner, LAUNCHED] == 1
    assert (ROOT, inner, LAUNCHED) not in graph.edges
    made = f"object:{(id_of(1) + index_bytes(0)).hex()}"
    assert graph.edges[id_of(1).hex(), made, DATA] == graph.edges[made, add, DATA] == 1
    assert graph.edges[id_of(6).hex(), id_of(7).hex(), DATA] == 1


def test_large_programs_are_grouped_by_function() -> None:
    many = [launched(i, "load") for i in range(1_000)]
    many += [launched(1_000 + i, "load", parent=i) for i in range(50)]
    many.append(launched(5_000, "add", arguments=tuple(range(1_000))))
    graph = build(many, 200)
    assert len(graph.nodes) == 5
    assert "load × 1,050" in [node.text for node in graph.nodes.values()]
    assert graph.edges[ROOT, "task:load", LAUNCHED] == 1_000
    assert graph.edges["task:load", "task:load", LAUNCHED] == 50
    assert graph.edges["object:task:load", "task:add", DATA] == 1_000
    assert '"task:load" -> "task:load" [style=dashed, label="50"]' in dot(graph)
    assert ElementTree.fromstring(svg(graph, lay_out(graph))).tag.endswith("svg")


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Any graph, with circles and loops too."""
    graph = Graph()
    for number in range(draw(st.integers(1, 25))):
        kind = draw(st.sampled_from(["task", "object"]))
        graph.add(f"n{number}", kind, draw(st.text(max_size=8)))
    names = st.sampled_from(sorted(graph.nodes))
    for source, target in draw(st.lists(st.tuples(names, names), max_size=40)):
        graph.join(source, target, draw(st.sampled_from([LAUNCHED, DATA])))
    return graph


@settings(max_examples=60, deadline=None)
@given(graphs())
def test_no_node_covers_another_and_all_lie_within_the_drawing(graph: Graph) -> None:
    layout = lay_out(graph)
    assert set(layout.boxes) == set(graph.nodes)
    boxes = sorted(layout.boxes.values(), key=lambda box: (box.y, box.x))
    for box, other in itertools.pairwise(boxes):
        if box.y == other.y:
            assert box.x + box.width / 2 <= other.x - other.width / 2 + 1e-6
    for box in boxes:
        assert box.width / 2 <= box.x <= layout.width - box.width / 2 + 1e-6
        assert box.height / 2 <= box.y <= layout.height
    svg(graph, layout)
    dot(graph)


def test_without_circles_edges_lead_downwards() -> None:
    graph = build(PROGRAM, 100)
    boxes = lay_out(graph).boxes
    assert all(boxes[source].y < boxes[target].y for source, target, _ in graph.edges)


def test_texts_are_escaped_and_images_are_bounded() -> None:
    graph = build([launched(1, 'f"<lambda> & more\\')], 10)
    root = ElementTree.fromstring(svg(graph, lay_out(graph)))
    assert 'f"<lambda> & more\\' in [
        "".join(x.itertext()) for x in root.iter() if x.tag[-4:] == "text"
    ]
    assert 'label="f\\"<lambda> & more\\\\"' in dot(graph)
    long = build([launched(i, "f", parent=i - 1 if i else None) for i in range(400)], 10_000)
    made = image(long, lay_out(long))
    assert max(made.size) <= 12_000


def test_records_are_bounded_and_count_once(monkeypatch: Any) -> None:
    monkeypatch.setattr(task_graph, "RECORDS_MAX", 3)
    monkeypatch.setattr(task_graph, "JOBS_MAX", 2)
    records = GraphRecords()
    records.take(1, PROGRAM[:2])
    records.take(1, [PROGRAM[1], *PROGRAM[2:4]])
    assert records.of_job(1) == PROGRAM[1:4]
    records.take(2, PROGRAM)
    records.take(3, PROGRAM)
    assert records.of_job(1) == [] and len(records.of_job(3)) == 3
