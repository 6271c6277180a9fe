"""The benchmark of the control store alone: it runs, and writes what it prints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import control_store, lease_grants, placing


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (lease_grants, placing):
        monkeypatch.setattr(module, "NODES", 110)
    monkeypatch.setattr(lease_grants, "CHURN", 50)
    monkeypatch.setattr(placing, "BUNDLES", 100)


def test_every_case_places_or_grants_all_that_it_is_to(small: None) -> None:
    for name, case in placing.CASES.items():
        assert case()[0] == 100, name
    for name, case in lease_grants.CASES.items():
        assert case()[0] >= 50, name


def test_figures_are_written_and_held_against_their_goals(
    small: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "figures.json"
    monkeypatch.setattr(control_store, "GRANTS", 100)  # for the machine that runs the tests
    assert control_store.main(["pack", "churn", "--rounds", "1", "--output", str(path)]) == 0
    rows = json.loads(path.read_text())["rows"]
    assert [(row["name"], row["met"]) for row in rows] == [("pack", True), ("churn", True)]
    monkeypatch.setattr(control_store, "PLACED_WITHIN", 0.0)
    assert control_store.main(["pack", "--rounds", "1"]) == 1
