"""Metrics as text: what Prometheus reads is what was counted."""

from __future__ import annotations

import math
import re

from hypothesis import given, strategies as st

from ray_on_dask.core.cluster_metrics import user_families
from ray_on_dask.core.exposition import Family, exposition, number

_LINE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[^"{}]|"(?:[^"\\]|\\.)*")*)\})? (\S+)')
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
_ESCAPES = {r"\\": "\\", r"\n": "\n", r"\"": '"'}


def read(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Samples of an exposition, as a reader of the format has them."""
    found = {}
    for line in text.split("\n"):
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        assert match is not None, line
        labels = frozenset(
            (key, re.sub(r"\\[\\n\"]", lambda escape: _ESCAPES[escape[0]], value))
            for key, value in _LABEL.findall(match[2] or "")
        )
        assert (match[1], labels) not in found, line
        found[match[1], labels] = float(match[3])
    return found


@given(st.dictionaries(st.from_regex(r"[a-z]{1,5}", fullmatch=True), st.text()), st.floats())
def test_any_label_and_any_value_come_through(labels: dict[str, str], value: float) -> None:
    family = Family("x", "gauge", "two\nlines \\ of help")
    family.add(value, **labels)
    text = exposition([family])
    assert text.count("\n") == 3  # help and type are lines of their own
    ((_, got),) = read(text).items()
    assert got == value or (math.isnan(got) and math.isnan(value))
    assert next(iter(read(text)))[1] == frozenset(labels.items())


def series(kind: str, name: str, tags: dict[str, str], value: float, **more: object) -> dict:  # type: ignore[type-arg]
    return {"kind": kind, "name": name, "description": "", "tags": tags, "value": value,
            "boundaries": [], "counts": [], **more}  # fmt: skip


def test_buckets_of_a_histogram_are_cumulative() -> None:
    found = read(exposition(user_families([
        series("histogram", "h", {"le": "mine"}, 7.5, boundaries=[1.0, 2.0], counts=[2, 0, 3])
    ])))  # fmt: skip
    mine = ("tag_le", "mine")
    assert found == {
        ("ray_h_bucket", frozenset({mine, ("le", "1")})): 2,
        ("ray_h_bucket", frozenset({mine, ("le", "2")})): 2,
        ("ray_h_bucket", frozenset({mine, ("le", "+Inf")})): 5,
        ("ray_h_sum", frozenset({mine})): 7.5,
        ("ray_h_count", frozenset({mine})): 5,
    }


def test_names_do_not_clash() -> None:
    families = user_families(
        [
            series("counter", "seen", {"a": "1"}, 2), series("counter", "seen", {"a": "2"}, 3),
            series("gauge", "seen_total", {}, 4), series("gauge", "resources", {"value": "v"}, 5),
        ],
        taken={"ray_resources"},
    )  # fmt: skip
    text = exposition(families)
    assert text.count("# TYPE") == 2
    assert {name for name, _ in read(text)} == {"ray_seen_total", "ray_user_resources"}


def test_numbers() -> None:
    assert [number(x) for x in (3.0, 0.5, math.inf, -math.inf, math.nan)] == [
        "3", "0.5", "+Inf", "-Inf", "NaN",
    ]  # fmt: skip
