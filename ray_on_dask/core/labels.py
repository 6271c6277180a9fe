"""Whether a node has the labels that somebody asks for, and the words for what is asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: {key: ["in" | "not_in" | "exists" | "absent", values]}.
Selector = Mapping[str, Any]


def labels_match(labels: Mapping[str, str], wanted: Selector) -> bool:
    """Whether labels meet a selector; a node without the label meets "not_in"."""
    for key, (operator, values) in wanted.items():
        has = labels.get(key)
        if operator == "in":
            met = has in values
        elif operator == "not_in":
            met = has not in values
        else:
            met = (has is not None) == (operator == "exists")
        if not met:
            return False
    return True


def in_words(wanted: Selector) -> str:
    """A selector for people."""
    said = []
    for key, (operator, values) in wanted.items():
        listed = " or ".join(map(repr, values))
        said.append({
            "in": f"{key} = {listed}", "not_in": f"{key} not {listed}", "exists": f"any {key}",
            "absent": f"no {key}",
        }[operator])  # fmt: skip
    return ", ".join(said)
