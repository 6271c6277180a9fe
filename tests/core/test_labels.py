"""Selectors of labels: what meets them, and their words."""

from __future__ import annotations

from typing import Any

import pytest

from ray_on_dask.core.labels import in_words, labels_match

LABELS = {"zone": "a", "disk": "fast"}


@pytest.mark.parametrize(
    ("operator", "values", "here", "elsewhere"),
    [
        ("in", ["a", "b"], True, False),
        ("in", ["b"], False, False),
        ("not_in", ["a"], False, True),
        ("not_in", ["b"], True, True),
        ("exists", [], True, False),
        ("absent", [], False, True),
    ],
)
def test_operators(operator: str, values: list[str], here: bool, elsewhere: bool) -> None:
    """A node without the label is not in any list of values."""
    assert labels_match(LABELS, {"zone": [operator, values]}) is here
    assert labels_match({}, {"zone": [operator, values]}) is elsewhere


def test_all_conditions_must_be_met_and_none_are_met_by_all() -> None:
    both: dict[str, Any] = {"zone": ["in", ["a"]], "disk": ["in", ["slow"]]}
    assert not labels_match(LABELS, both)
    assert labels_match(LABELS, {}) and labels_match({}, {})


def test_in_words() -> None:
    selector: dict[str, Any] = {
        "zone": ["in", ["a", "b"]], "x": ["not_in", ["1"]], "y": ["exists", []],
        "spot": ["absent", []],
    }  # fmt: skip
    assert in_words(selector) == "zone = 'a' or 'b', x not '1', any y, no spot"
