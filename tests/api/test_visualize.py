"""`visualize_computation_graph`: what a program has launched, as a drawing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest


@pytest.fixture(scope="module")
def ray(ray_session: Callable[..., Any]) -> Any:
    """As the tutorial of 2016 begins its sessions."""
    return ray_session(num_cpus=2, start_ray_local=True)


def test_a_program_is_drawn_with_what_its_tasks_launch(
    ray: Any, tmp_path: Path, capsys: Any
) -> None:
    @ray.remote
    def inner(x: int) -> int:
        return x

    @ray.remote
    def outer(n: int) -> int:
        return sum(ray.get([inner.remote(i) for i in range(n)]))

    @ray.remote
    class Sum:
        def add(self, x: int) -> int:
            return x

    actor = Sum.remote()
    given = ray.put(1)
    assert ray.get(actor.add.remote(outer.remote(3))) == 3
    assert ray.get(inner.remote(given)) == 1
    path = ray.visualize_computation_graph(tmp_path / "graph.dot")
    assert capsys.readouterr().out == f"Wrote {path}\n"
    text = Path(path).read_text()
    assert text.count('[label="inner", shape=box') == 4
    assert text.count('[label="outer", shape=box') == 1
    assert 'label="put", shape=oval' in text and '"op-root" [label="script"' in text
    outer_id = text.split('[label="outer"')[0].rsplit('"', 2)[1]
    assert text.count(f'"{outer_id}" -> ') == 4  # three tasks that it has launched, its result
    assert text.count(f'"{outer_id}" -> ') - text.count(f'"{outer_id}" -> "object') == 3


@pytest.mark.parametrize(("suffix", "begins"), [(".png", b"\x89PNG"), (".pdf", b"%PDF")])
def test_it_is_written_as_the_name_says(
    ray: Any, tmp_path: Path, suffix: str, begins: bytes
) -> None:
    path = ray.visualize_computation_graph(file_path=str(tmp_path / f"graph{suffix}"))
    assert Path(path).read_bytes().startswith(begins)


def test_without_a_name_it_is_an_svg_file_and_can_be_grouped(ray: Any) -> None:
    @ray.remote
    def many(x: int) -> int:
        return x

    ray.get([many.remote(i) for i in range(300)])
    path = Path(ray.visualize_computation_graph())
    try:
        root = ElementTree.parse(path).getroot()
        assert "many × 300" in ["".join(x.itertext()) for x in root.iter()]
    finally:
        path.unlink()
    with pytest.raises(ValueError, match=r"ends in one of \.svg"):
        ray.visualize_computation_graph("graph.gif")


def test_a_session_that_records_nothing_says_so(ray_session: Callable[..., Any]) -> None:
    ray = ray_session(num_cpus=1)
    with pytest.raises(RuntimeError, match="record_graph=True"):
        ray.visualize_computation_graph()
