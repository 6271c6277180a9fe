"""Scheduling strategies as the control store takes them: a word, or a JSON object."""

from __future__ import annotations

import json
from typing import Any


def strategy_of(
    options: dict[str, Any], resources: dict[str, int], session: Any
) -> tuple[str, bytes, bool]:
    """(strategy, placement group of the task, whether its children inherit that).

    `resources` is changed for a task within a placement group: it takes the bundle's.
    """
    strategy = options.get("scheduling_strategy")
    group = options.get("placement_group", "default")
    if group not in ("default", None) and strategy is None:
        from ray_on_dask.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        strategy = PlacementGroupSchedulingStrategy(
            group,
            options.get("placement_group_bundle_index", -1),
            options.get("placement_group_capture_child_tasks"),
        )
    if strategy is None and group == "default" and (inherited := session.inherited_group()):
        strategy = _inherited(inherited)
    if strategy is None or isinstance(strategy, str):
        return _by_labels(options, strategy == "SPREAD") or strategy or "DEFAULT", b"", False
    found: tuple[str, bytes, bool] = strategy._as_class(resources)
    return found


def _inherited(group: bytes) -> Any:
    """The strategy of what is launched by a task that captures its children."""
    from ray_on_dask.ids import PlacementGroupID
    from ray_on_dask.util.placement_group import PlacementGroup
    from ray_on_dask.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    handle = PlacementGroup(PlacementGroupID(group))
    return PlacementGroupSchedulingStrategy(handle, placement_group_capture_child_tasks=True)


def _by_labels(options: dict[str, Any], spread: bool) -> str:
    """The labels that a node must have, and those that will do else; "" for any node."""
    labels, others = options.get("label_selector"), options.get("fallback_strategy")
    if not labels:
        return ""
    strategy: dict[str, Any] = {"hard": selector_of(labels)}
    if others:
        strategy["fallback"] = [selector_of(other["label_selector"]) for other in others]
    if spread:
        strategy["spread"] = True
    return json.dumps(strategy, sort_keys=True)


def selector_of(labels: dict[str, str]) -> dict[str, list[Any]]:
    """{key: "v" | "!v" | "in(a,b)" | "!in(a,b)"} as operators and values."""
    out: dict[str, list[Any]] = {}
    for key, text in labels.items():
        negated = text.startswith("!")
        text = text.removeprefix("!")
        values = [text]
        if text.startswith("in(") and text.endswith(")"):
            values = [value.strip() for value in text[3:-1].split(",")]
        out[key] = ["not_in" if negated else "in", values]
    return out
