"""The figures in the README are those of the newest committed results."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pages import ROOT

from benchmarks import readme_table


def line(name: str, **facts: Any) -> dict[str, Any]:
    """One row of a run's JSON, as `benchmarks.results` writes it."""
    row = {
        "name": name, "title": f"{name}, in words", "unit": "/s", "better": "higher", "goal": 5.0,
        "absolute": False, "published": None, "ratio": 10.0, "met": True, "beats_published": None,
        "median": {"ray": 120.0, "ray_on_dask": 1200.0, "dask": None}, "errors": {},
    }  # fmt: skip
    return row | facts


def document(date: str = "2026-01-02T03:04:05+00:00", suite: str = "standard") -> dict[str, Any]:
    modules = {m: {"version": "1.0", "python": "3.11"} for m in ("dask", "ray_on_dask", "ray")}
    return {
        "date": date,
        "machine": {"cores": 2, "processor": "a processor", "memory": "8 kB"},
        "settings": {"suite": suite, "rounds": 3, "seconds": 2.0},
        "modules": modules,
        "rows": [line("tasks"), line("cost", better="lower", ratio=2.0, met=False)],
    }


def test_the_readme_shows_the_newest_committed_results() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    expected = readme_table.render(readme_table.newest())
    assert readme_table.between(readme) == expected, "run `make bench-table`"


def test_the_readme_shows_the_newest_committed_results_of_two_hosts() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    marks = readme_table.BEGIN_HOSTS, readme_table.END_HOSTS
    expected = readme_table.render_hosts(readme_table.newest_of_hosts())
    assert readme_table.between(readme, *marks) == expected, "run `make bench-table`"


def test_a_row_of_two_hosts_has_both_figures_and_their_ratio() -> None:
    rows = [{"row": "calls", "ray": 500.0, "ray_on_dask": 2000.0}, {"row": "x", "ray_on_dask": 2.0}]
    lines = readme_table.render_hosts({**document(suite="two hosts"), "rows": rows}).splitlines()
    assert lines[4:] == ["| calls | 500 | 2,000 | 4.0 |", "| x | - | 2.00 | - |"]


def test_a_row_has_every_module_with_ray_and_the_project_first() -> None:
    lines = readme_table.render(document()).splitlines()
    assert lines[0].startswith("2026-01-02, 2 cores of a processor")
    assert lines[2] == "| workload | unit | ray | ray_on_dask | dask | ÷ Ray | goal |  |"
    assert lines[4] == "| tasks, in words | /s | 120 | 1,200 | - | 10 | ≥ 5 | pass |"
    assert lines[5].endswith("| 2 | ≤ 5 | short |")


def test_writing_the_table_twice_changes_nothing() -> None:
    table = readme_table.render(document())
    page = f"above\n{readme_table.BEGIN}\nold\n{readme_table.END}\nbelow\n"
    once = readme_table.inserted(page, table)
    assert readme_table.between(once) == table
    assert readme_table.inserted(once, table) == once
    assert (once.startswith("above\n"), once.endswith("\nbelow\n")) == (True, True)


def test_a_page_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="figures: begin"):
        readme_table.inserted("no marks", "table")


def test_the_newest_results_are_chosen_that_git_knows_and_no_quick_ones(tmp_path: Path) -> None:
    folder = tmp_path / readme_table.FOLDER
    folder.mkdir(parents=True)
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    for name, made in {
        "old": document("2026-01-01"), "new": document("2026-01-02"),
        "quick": document("2026-01-03", suite="quick"), "unknown": document("2026-01-04"),
        "hosts": document("2026-01-05", suite="two hosts"), "part": document("2026-01-06"),
    }.items():  # fmt: skip
        if name == "part":
            made["settings"]["only"] = ["put"]
        (folder / f"{name}.json").write_text(json.dumps(made))
    assert readme_table.newest(tmp_path) is None
    known = [folder / f"{name}.json" for name in ("old", "new", "quick", "hosts", "part")]
    subprocess.run(["git", "add", *known], cwd=tmp_path, check=True)
    found = readme_table.newest(tmp_path)
    assert found is not None
    assert found["date"] == "2026-01-02"
    hosts = readme_table.newest_of_hosts(tmp_path)
    assert hosts is not None
    assert hosts["date"] == "2026-01-05"
