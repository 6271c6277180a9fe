"""The examples, run small: what the cluster gives is what one process gives."""

from __future__ import annotations

import ast
import gc
import importlib
import sys
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import pytest

# It lasts as long as this process: it is to be there before leaks are looked for.
resource_tracker.ensure_running()

FOLDER = Path(__file__).resolve().parents[2] / "examples"
NAMES = (
    "_common", "digits_search", "frame_to_actors", "parameter_server", "stdlib_mapreduce",
)  # fmt: skip

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Import an example by name, as executors do by the driver's `sys.path`, and run it small."""
    monkeypatch.syspath_prepend(str(FOLDER))

    def run(name: str, *switches: str) -> dict[str, Any]:
        main = importlib.import_module(name).main
        return main(["--small", "--num-cpus", "2", *switches])

    yield run
    for name in NAMES:
        sys.modules.pop(name, None)
    gc.collect()  # a session's memory hangs on cycles


def test_digits_search_scores_each_candidate_as_one_process_does(run: Run) -> None:
    result = run("digits_search", "--candidates", "4", "--folds", "3")

    assert sorted(result["scores"]) == [0, 1, 2, 3]
    assert result["scores"] == result["serial_scores"]
    assert result["tasks"] == 4 * (1 + 3)
    assert len(result["pids"]) >= 1
    assert result["nodes"] == 1


def test_frame_to_actors_finds_the_mistakes_that_pandas_finds(run: Run) -> None:
    pytest.importorskip("pyarrow")  # Dask's DataFrames need it
    result = run("frame_to_actors", "--partitions", "3", "--actors", "1")

    assert result["mistakes"] == result["pandas_mistakes"]
    assert sum(result["mistakes"].values()) > 0
    assert result["nodes"] == 1


def test_stdlib_mapreduce_finds_what_one_process_finds(run: Run) -> None:
    result = run("stdlib_mapreduce", "--chunks", "8")
    found, expected = result["findings"], result["serial_findings"]

    assert found.files == expected.files > 0
    assert found.lines == expected.lines
    assert found.ranked() == expected.ranked()
    assert found.imports == expected.imports
    assert result["tasks"] == 8 + 7
    assert result["names"][0][0] == "self"


def test_parameter_server_reaches_the_accuracy_that_it_states_in_both_ways(run: Run) -> None:
    result = run("parameter_server", "--workers", "3", "--rounds", "90")
    stated = importlib.import_module("parameter_server").ACCURACY

    assert set(result["accuracy"]) == {"in rounds", "as they come"}
    assert all(value >= stated for value in result["accuracy"].values()), result
    assert len(result["pids"]) == 3


def test_parameter_server_says_so_when_it_does_not(run: Run) -> None:
    with pytest.raises(SystemExit, match="is below"):
        run("parameter_server", "--rounds", "2")


def test_import_cycles_are_the_modules_that_reach_each_other(run: Run) -> None:
    components = importlib.import_module("stdlib_mapreduce").components

    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": {"d"}, "f": {"a"}}

    assert components(graph) == [["a", "b", "c"], ["d", "e"]]


@pytest.mark.parametrize(
    ("source", "is_package", "expected"),
    [
        ("from . import b\nfrom .. import d", True, {"p.q.b", "p.d"}),
        ("from . import b\nfrom .c import x", False, {"p.q.b", "p.q.c"}),
        ("import os.path\nfrom os import path", False, {"os"}),
        ("def f():\n    import os", False, set()),
        ("if __name__ == '__main__':\n    import os", False, set()),
        ("try:\n    import os\nexcept ImportError:\n    pass", False, {"os"}),
    ],
)
def test_imports_are_those_that_run_with_the_module(
    run: Run, source: str, is_package: bool, expected: set[str]
) -> None:
    known = frozenset({"os", "p", "p.d", "p.q", "p.q.b", "p.q.c", "p.q.m"})
    module = "p.q" if is_package else "p.q.m"
    imported = importlib.import_module("stdlib_mapreduce").imported

    assert imported(ast.parse(source), module, is_package, known) == expected
