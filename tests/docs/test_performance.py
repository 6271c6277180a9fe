"""The constants that `docs/performance.md` names are those of the code."""

from __future__ import annotations

import importlib

import pytest
from pages import ROOT, names, table

TEXT = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("row", table(TEXT, "Constants").rows, ids=lambda row: row["constant"])
def test_a_constant_has_the_value_that_is_given(row: dict[str, str]) -> None:
    module, _, name = names(row["constant"])[0].rpartition(".")
    assert getattr(importlib.import_module(module), name) == float(row["value"].split()[0])
