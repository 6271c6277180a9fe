"""Ledgers and GPU ids: exact, never handed out twice."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from ray_on_dask.core.gpus import Gpus
from ray_on_dask.core.resources import UNITS, Ledger, as_floats, from_units, to_units


@pytest.mark.parametrize(
    ("quantity", "units"),
    [(1, 10_000), (0.1, 1_000), (0.3, 3_000), (1.00015, 10_001), (0.00001, 0), (2.9999, 29_999)],
)
def test_quantities_are_ten_thousandths_rounded_down(quantity, units):
    assert to_units(quantity) == units


@given(st.integers(0, 10**9))
def test_units_survive_being_a_float(units):
    assert to_units(from_units(units)) == units


def test_what_there_is_none_of_is_not_listed():
    assert as_floats({"CPU": 15_000, "GPU": 0, "x": -1}) == {"CPU": 1.5}


@given(st.lists(st.sampled_from([1_000, 2_000, 3_333, 7_000]), max_size=60))
def test_a_ledger_is_where_it_began_when_all_is_given_back(demands):
    ledger, taken = Ledger({"GPU": 3 * UNITS}), []
    for units in demands:
        if ledger.fits({"GPU": units}):
            ledger.take({"GPU": units})
            taken.append(units)
        ledger.validate()
    for units in taken:
        ledger.give({"GPU": units})
    assert ledger.free == ledger.total


def test_a_debt_of_cpus_is_repaid_first_but_what_needs_none_goes_on():
    ledger = Ledger({"CPU": UNITS, "x": UNITS})
    ledger.take({"CPU": 2 * UNITS})
    ledger.validate()
    assert not ledger.fits({"CPU": 1}) and ledger.fits({"x": UNITS}) and ledger.fits({"CPU": 0})


def test_tasks_of_dask_count_as_used_cpus_and_as_nothing_else():
    ledger = Ledger({"CPU": 2 * UNITS, "x": UNITS})
    ledger.external = UNITS
    assert ledger.fits({"CPU": UNITS, "x": UNITS}) and not ledger.fits({"CPU": UNITS + 1})
    assert ledger.could_fit({"CPU": 2 * UNITS})


def test_more_granted_than_there_is_is_found():
    ledger = Ledger({"GPU": UNITS})
    ledger.take({"GPU": 2 * UNITS})
    with pytest.raises(AssertionError):
        ledger.validate()


def test_names_of_placement_groups_come_and_go_without_a_trace():
    ledger = Ledger({"CPU": UNITS})
    ledger.change_total({"CPU_group_1": UNITS})
    assert ledger.fits({"CPU_group_1": UNITS})
    ledger.change_total({"CPU_group_1": -UNITS})
    assert ledger == Ledger({"CPU": UNITS})


# -- GPU ids ---------------------------------------------------------------------------


def test_whole_gpus_are_for_one_lease_alone():
    gpus = Gpus.of([0, 1, 2])
    assert gpus.take(1, 2 * UNITS) == [0, 1]
    assert gpus.take(2, UNITS) == [2]
    assert gpus.take(3, UNITS) is None
    gpus.give(1)
    assert gpus.take(4, UNITS) == [0]
    gpus.validate()


def test_fractions_share_a_gpu_and_leave_whole_ones_free():
    gpus = Gpus.of([0, 1])
    assert gpus.take(1, UNITS // 2) == gpus.take(2, UNITS // 4) == [0]
    assert gpus.take(3, UNITS // 2) == [1]
    assert gpus.take(4, UNITS // 4) == [0]
    gpus.validate()


def test_a_lease_without_gpus_has_none_and_gives_none():
    gpus = Gpus.of([0])
    assert gpus.take(1, 0) == []
    gpus.give(1), gpus.give(99)
    assert gpus.free == {0: UNITS}


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from([0, 2_500, 5_000, 10_000, 20_000]))))
@settings(deadline=None)
def test_ids_are_never_handed_out_twice(steps):
    gpus, held = Gpus.of([3, 5, 7]), set()
    for lease, units in steps:
        if lease in held:
            gpus.give(lease)
            held.discard(lease)
        else:
            gpus.take(lease, units)
            held.add(lease)
        gpus.validate()
    for lease in held:
        gpus.give(lease)
    assert gpus == Gpus.of([3, 5, 7])
