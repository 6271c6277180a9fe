"""The registry of benchmarks names every row that is to be reported, once, with its goal."""

from __future__ import annotations

import pytest

from benchmarks import registry
from benchmarks.registry import Better, Row, Suite, cost, limit, rate

#: {row: what project ÷ Ray has to reach}, as agreed before the first measurement.
RATIOS = {
    "tasks_sync": 15, "tasks_batch": 20, "tasks_multi_caller": 8,
    "tasks_queued_submit": 5, "tasks_queued_total": 20, "tasks_chain": 10,
    "actor_sync": 10, "actor_batch": 12, "actor_concurrent": 8,
    "actor_1_to_n": 8, "actor_n_to_n": 6, "actor_n_to_n_ref": 8,
    "async_actor_sync": 8, "async_actor_batch": 10, "async_actor_args": 10,
    "async_actor_n_to_n": 8, "get_small": 30, "put_small": 50, "put_800mb": 5,
    "put_in_tasks": 1.5, "get_8mb": 3, "shared_8mb": 8, "return_8mb": 1 / 4,
    "get_10k_refs": 3, "wait_1k": 10, "task_2000_refs": 1 / 8, "tree_reduce": 1 / 5,
    "nested_tasks": 1 / 5, "actors_created": 40, "placement_groups": 3,
    "init": 1 / 4, "shutdown": 1 / 4, "memory_idle": 1 / 4, "memory_per_actor": 1 / 10,
    "envelope_args": 1, "envelope_returns": 1, "envelope_get": 1, "queued_1m": 1,
}  # fmt: skip
#: {row: what the project's own figure has to reach}
LIMITS = {"put_800mb_of_memcpy": 0.7, "queued_growth": 1.5, "memory_per_queued_task": 1.0}
#: {row: Ray's published figure}
PUBLISHED = {
    "tasks_sync": 961, "tasks_batch": 7972, "actor_sync": 1960, "actor_batch": 8220,
    "put_small": 5110, "get_10k_refs": 12.7, "wait_1k": 4.9, "placement_groups": 762,
    "envelope_args": 18.8, "envelope_returns": 5.7, "envelope_get": 23.0, "queued_1m": 200,
}  # fmt: skip


@pytest.fixture(scope="module")
def rows() -> dict[str, Row]:
    """All rows by name; a name that is there twice fails here."""
    found: dict[str, Row] = {}
    for workload in registry.load().values():
        for row in workload.rows:
            assert row.name not in found
            found[row.name] = row
    return found


def test_every_agreed_ratio_is_the_goal_of_its_row(rows: dict[str, Row]) -> None:
    goals = {name: rows[name].goal for name in RATIOS}
    assert goals == RATIOS
    assert not any(rows[name].absolute for name in RATIOS)


def test_every_agreed_limit_is_the_goal_of_its_row(rows: dict[str, Row]) -> None:
    assert {name: rows[name].goal for name in LIMITS} == LIMITS
    assert all(rows[name].absolute for name in LIMITS)


def test_no_row_has_a_goal_that_was_not_agreed(rows: dict[str, Row]) -> None:
    assert {name for name, row in rows.items() if row.goal is not None} == {*RATIOS, *LIMITS}


def test_published_figures_stand_at_their_rows(rows: dict[str, Row]) -> None:
    assert {n: row.published for n, row in rows.items() if row.published} == PUBLISHED


def test_goals_are_positive_and_point_the_way_the_row_counts(rows: dict[str, Row]) -> None:
    """A rate has to grow and a cost has to shrink: a goal on the wrong side of 1 is a slip."""
    for row in rows.values():
        if row.goal is not None and not row.absolute:
            assert row.goal >= 1 if row.better is Better.HIGHER else 0 < row.goal <= 1, row.name


def test_the_scaling_curve_has_a_point_for_every_size(rows: dict[str, Row]) -> None:
    assert {f"queued_{10**power}" for power in range(2, 7)} <= set(rows)


def test_titles_tell_rows_apart_and_units_are_given(rows: dict[str, Row]) -> None:
    titles = [row.title for row in rows.values()]
    assert len(titles) == len(set(titles))
    assert all(row.unit for row in rows.values())


def test_what_plain_dask_runs_is_a_workload() -> None:
    assert set(registry.ON_DASK) <= set(registry.load())


def test_a_quick_run_is_part_of_the_standard_one_and_that_of_the_full_one() -> None:
    quick, standard, full = ({w.name for w in registry.select(suite)} for suite in Suite)
    assert quick < standard < full
    assert full - standard == {"queued_1m"}


def test_only_names_rows_subjects_or_patterns_whatever_the_suite() -> None:
    def names(*only: str) -> set[str]:
        return {w.name for w in registry.select(Suite.QUICK, only)}

    assert names("queued_1m") == {"queued_1m"}
    assert names("tasks_queued_total") == {"tasks_queued_submit"}
    assert "async_actor_args" in names("async_actors")
    assert names("put_s*", "get_s*") == {"put_small", "get_small"}
    assert names("no such row") == set()


def test_a_name_cannot_be_registered_twice() -> None:
    with pytest.raises(ValueError, match="init"):
        registry.workload(cost("init", "again", goal=1))(lambda ray, meter: 0.0)


def test_a_rate_meets_its_goal_from_the_goal_upwards() -> None:
    row = rate("r", "r", goal=15)
    assert row.meets(150, 10) is True
    assert row.meets(149, 10) is False
    assert row.meets(150, None) is None


def test_a_cost_meets_its_goal_from_the_goal_downwards() -> None:
    row = cost("c", "c", goal=1 / 4)
    assert row.meets(1.0, 4.0) is True
    assert row.meets(1.1, 4.0) is False


def test_a_limit_is_held_against_the_figure_alone() -> None:
    row = limit("l", "l", goal=0.7, unit="of a copy", better=Better.HIGHER)
    assert row.meets(0.8, None) is True
    assert row.meets(0.6, 0.01) is False
