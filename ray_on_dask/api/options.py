"""The options of `@remote`, `@method` and `.options`: which there are and what they may be.

Options go through three steps::

    given = task_options(num_cpus=2)            # at decoration: names, types, values
    merged = merge(given, task_overrides(name="x"))   # at .options
    check_at_call(merged)                       # at .remote: what Ray checks only then

What comes out has today's names only: `num_return_vals` has become
`num_returns`, `num_custom_resource` a resource called `"custom"`.
"""

from __future__ import annotations

import difflib
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Any

from ray_on_dask.api import option_checks as checks
from ray_on_dask.api.demand import check_resources_at_call, resources_of

__all__ = [
    "ACTOR_OPTIONS",
    "METHOD_OPTIONS",
    "TASK_OPTIONS",
    "Option",
    "actor_options",
    "actor_overrides",
    "check_at_call",
    "check_generator",
    "merge",
    "method_options",
    "method_overrides",
    "resources_of",
    "task_options",
    "task_overrides",
]

Check = Callable[[str, Any], None]


@dataclass(frozen=True)
class Option:
    """One keyword."""

    name: str
    #: Classes of values that are accepted.
    types: tuple[type, ...]
    #: What holds when the option is not given.
    default: Any = None
    #: Raises if the value will not do; not asked about None.
    check: Check | None = None
    #: Whether `.options` may give it; if not, only the decorator.
    in_options: bool = True

    def when_none(self) -> Any:
        """What None stands for: the default, or None itself where that has a meaning."""
        if self.name == "max_retries":
            return int(os.environ.get("RAY_TASK_MAX_RETRIES", self.default))
        return self.default if NoneType in self.types else None

    def validate(self, value: Any) -> None:
        """Raise `TypeError` for a wrong type, `ValueError` for a value that will not do."""
        if not isinstance(value, self.types) and not self._is_strategy(value):
            raise TypeError(
                f"The type of keyword '{self.name}' must be {self._wanted()}, "
                f"but received type {type(value)}"
            )
        if value is not None and self.check is not None:
            self.check(self.name, value)

    def _is_strategy(self, value: Any) -> bool:
        # By name: the classes are in a module that is built on this one.
        return self.name == "scheduling_strategy" and type(value).__name__ in _STRATEGIES

    def _wanted(self) -> str:
        names = ["None" if t is NoneType else t.__name__ for t in self.types]
        return " or ".join([*names, *(_STRATEGIES if self.name == "scheduling_strategy" else ())])


_STRATEGIES = (
    "PlacementGroupSchedulingStrategy",
    "NodeAffinitySchedulingStrategy",
    "NodeLabelSchedulingStrategy",
)
_QUANTITY = (float, int, NoneType)
_INT = (int, NoneType)
_STR = (str, NoneType)
_DICT = (dict, NoneType)


#: Accepted so that programs for Ray run, and said to change nothing.
NO_EFFECT = (
    "enable_task_events", "_labels", "_num_objects_per_yield",
    "_actor_generator_backpressure_num_objects", "enable_tensor_transport", "tensor_transport",
)  # fmt: skip


def _table(*options: Option) -> dict[str, Option]:
    return {option.name: option for option in options}


_COMMON = _table(
    Option("num_cpus", _QUANTITY, None, checks.check_quantity),
    Option("num_gpus", _QUANTITY, None, checks.check_quantity),
    Option("memory", _QUANTITY, None, checks.check_quantity),
    Option("resources", _DICT, None, checks.check_resources),
    Option("accelerator_type", _STR),
    Option("label_selector", _DICT, None, checks.check_label_selector),
    Option("fallback_strategy", (list, NoneType), None, checks.check_fallback_strategy),
    Option("name", _STR),
    Option("runtime_env", _DICT, None, checks.check_env_vars),
    Option("scheduling_strategy", _STR),
    Option("placement_group", (object,), "default"),
    Option("placement_group_bundle_index", (int,), -1),
    Option("placement_group_capture_child_tasks", (bool, NoneType)),
    Option("enable_task_events", (bool,), True),
    Option("_labels", _DICT),
)
_RETURNS = Option("num_returns", (int, str, NoneType), None, checks.check_num_returns)
_RETRY = Option("retry_exceptions", (bool, list, tuple), False, checks.check_retry_exceptions)
_BACKPRESSURE = "_generator_backpressure_num_objects"
_YIELD = Option("_num_objects_per_yield", _INT, 1, checks.check_positive, in_options=False)

#: What `@remote` on a function takes.
TASK_OPTIONS = _COMMON | _table(
    Option("object_store_memory", _INT, None, checks.check_none),
    _RETURNS,
    Option("max_calls", _INT, 0, checks.check_not_negative, in_options=False),
    Option("max_retries", _INT, 3, checks.check_retries),
    _RETRY,
    Option(_BACKPRESSURE, _INT, None, checks.check_backpressure),
    _YIELD,
)

#: What `@remote` on a class takes.
ACTOR_OPTIONS = _COMMON | _table(
    Option("object_store_memory", _INT, None, checks.check_not_negative),
    Option("concurrency_groups", (list, dict, NoneType), in_options=False),
    Option("lifetime", _STR, None, checks.check_lifetime),
    Option("max_concurrency", _INT, None, checks.check_not_negative),
    Option("max_restarts", _INT, 0, checks.check_retries),
    Option("max_task_retries", _INT, 0, checks.check_retries),
    Option("max_pending_calls", _INT, -1, checks.check_retries),
    Option("namespace", _STR),
    Option("get_if_exists", (bool,), False),
    Option("allow_out_of_order_execution", (bool, NoneType)),
    Option("enable_tensor_transport", (bool, NoneType)),
    Option(f"_actor{_BACKPRESSURE}", _INT, None, checks.check_backpressure),
    Option("checkpoint_interval", _INT),
)

#: What `@method` takes, and `.options` of a method.
METHOD_OPTIONS = _table(
    _RETURNS,
    Option("concurrency_group", _STR),
    Option("max_task_retries", _INT, None, checks.check_retries),
    Option("retry_exceptions", (bool, list, tuple, NoneType), None, checks.check_retry_exceptions),
    Option(_BACKPRESSURE, _INT, None, checks.check_backpressure),
    _YIELD,
    Option("enable_task_events", (bool,), True),
    Option("tensor_transport", _STR),
)
_METHOD_OVERRIDES = METHOD_OPTIONS | _table(Option("name", _STR), Option("_labels", _DICT))


# -- decoration --------------------------------------------------------------------------


def task_options(**given: Any) -> dict[str, Any]:
    """Options of a remote function, with defaults for those not given.

    Raises
    ------
    ValueError
        For an unknown name, or a value that will not do.
    TypeError
        For a value of a wrong type.
    """
    validated = _validated(TASK_OPTIONS, given, "remote functions")
    if validated.get("num_gpus"):
        validated.setdefault("max_calls", 1)  # libraries keep a GPU's memory until they exit
    return _defaults(TASK_OPTIONS) | validated


def actor_options(**given: Any) -> dict[str, Any]:
    """Options of an actor class, with defaults for those not given; raises as `task_options`."""
    validated = _validated(ACTOR_OPTIONS, given, "actors")
    if validated.get("get_if_exists") and validated.get("name") is None:
        raise ValueError("get_if_exists needs a name")
    if validated.get("object_store_memory") is not None:
        warnings.warn(
            "object_store_memory of an actor is deprecated: it only counts as not free",
            DeprecationWarning,
            stacklevel=3,
        )
    return _defaults(ACTOR_OPTIONS) | validated


def method_options(**given: Any) -> dict[str, Any]:
    """Options that `@method` has set, and no others.

    Raises
    ------
    AssertionError
        For an unknown name.
    TypeError, ValueError
        As `task_options`.
    """
    unknown = [name for name in given if name not in {*METHOD_OPTIONS, "num_return_vals"}]
    if unknown:
        raise AssertionError(_unknown_text(unknown[0], METHOD_OPTIONS, "methods"))
    return _validated(METHOD_OPTIONS, given, "methods")


# -- .options ----------------------------------------------------------------------------


def task_overrides(**given: Any) -> dict[str, Any]:
    """What `.options` of a remote function sets; raises as `task_options`."""
    return _overrides(TASK_OPTIONS, given, "remote functions")


def actor_overrides(**given: Any) -> dict[str, Any]:
    """What `.options` of an actor class sets; raises as `task_options`."""
    return _overrides(ACTOR_OPTIONS, given, "actors")


def method_overrides(**given: Any) -> dict[str, Any]:
    """What `.options` of an actor's method sets; `TypeError` for an unknown name."""
    unknown = [name for name in given if name not in {*_METHOD_OVERRIDES, "num_return_vals"}]
    if unknown:
        raise TypeError(_unknown_text(unknown[0], _METHOD_OVERRIDES, "methods"))
    return _overrides(_METHOD_OVERRIDES, given, "methods")


def merge(decorator: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """`decorator` with the values of `override` in place of its own, key by key.

    Raises
    ------
    ValueError
        If the two do not go together: `get_if_exists` without a name.
    """
    merged = {**decorator, **override}
    if merged.get("get_if_exists") and merged.get("name") is None:
        raise ValueError("get_if_exists needs a name")
    _check_placement_group(merged)
    return merged


# -- the call ----------------------------------------------------------------------------


def check_at_call(options: Mapping[str, Any], kind: str = "task", is_async: bool = False) -> None:
    """What is checked at `.remote()`, not before.

    Parameters
    ----------
    options : mapping
        Validated and merged.
    kind : str
        `"task"` or `"actor"`.
    is_async : bool
        Whether the actor's class has any `async def`.

    Raises
    ------
    TypeError, ValueError
        If the options cannot be carried out as they are.
    """
    check_resources_at_call(options)
    strategy = options.get("scheduling_strategy")
    if isinstance(strategy, str) and strategy not in ("DEFAULT", "SPREAD"):
        raise ValueError(
            "scheduling_strategy must be 'DEFAULT', 'SPREAD' or one of "
            f"{', '.join(_STRATEGIES)}, but is {strategy!r}"
        )
    if kind == "actor":
        _check_actor_at_call(options, is_async)


def _check_actor_at_call(options: Mapping[str, Any], is_async: bool) -> None:
    for key in ("name", "namespace"):
        if options.get(key) == "":
            raise ValueError(f"The {key} of an actor must not be empty; None is for no {key}")
    threaded = (options.get("max_concurrency") or 1) > 1 or bool(options.get("concurrency_groups"))
    if threaded and not is_async and (options.get("checkpoint_interval") or 0) > 0:
        raise ValueError(
            "checkpoint_interval needs calls that run one at a time: with max_concurrency > 1 or "
            "concurrency groups the state may change while it is saved"
        )
    parallel = is_async or (options.get("max_concurrency") or 1) > 1
    if parallel and options.get("allow_out_of_order_execution") is False:
        raise ValueError(
            "allow_out_of_order_execution=False cannot be kept: async actors and those with "
            "max_concurrency > 1 run calls out of order"
        )
    groups = options.get("concurrency_groups")
    for name, limit in groups.items() if isinstance(groups, dict) else ():
        if not isinstance(limit, int):
            raise TypeError(f"concurrency_groups[{name!r}] must be an int, but is {limit!r}")
        checks.check_positive(f"concurrency_groups[{name!r}]", limit)


def check_generator(options: Mapping[str, Any], is_generator: bool) -> None:
    """Refuse `num_returns` "streaming" or "dynamic" for what is no generator function.

    Raises
    ------
    ValueError
        If that is so; a `DeprecationWarning` is issued for "dynamic" in any case.
    """
    num_returns = options.get("num_returns")
    if not isinstance(num_returns, str):
        return
    if num_returns == "dynamic":
        warnings.warn("num_returns='dynamic' is deprecated", DeprecationWarning, stacklevel=3)
    if not is_generator:
        raise ValueError(
            f"num_returns={num_returns!r} is for generator functions (with a `yield`) only"
        )


# -- what they share ---------------------------------------------------------------------


def _validated(table: Mapping[str, Option], given: Mapping[str, Any], kind: str) -> dict[str, Any]:
    options = _with_todays_names(table, given)
    for name, value in options.items():
        if name not in table:
            raise ValueError(_unknown_text(name, table, kind))
        table[name].validate(value)
        if name in NO_EFFECT and value not in (None, table[name].default):
            warnings.warn(f"option {name} has no effect in ray_on_dask", stacklevel=5)
    _check_placement_group(options)
    return {k: table[k].when_none() if v is None else v for k, v in options.items()}


def _overrides(table: Mapping[str, Option], given: Mapping[str, Any], kind: str) -> dict[str, Any]:
    for name in given:
        if name in table and not table[name].in_options:
            raise ValueError(f"{name} can be set by the decorator, not by '.options()'")
    return _validated(table, given, kind)


def _defaults(table: Mapping[str, Option]) -> dict[str, Any]:
    return {o.name: o.default if (none := o.when_none()) is None else none for o in table.values()}


def _with_todays_names(table: Mapping[str, Option], given: Mapping[str, Any]) -> dict[str, Any]:
    options = dict(given)
    if "num_return_vals" in options and "num_returns" in table:
        _rename(options, "num_return_vals", "num_returns")
    if "max_reconstructions" in options and "max_restarts" in table:
        _rename(options, "max_reconstructions", "max_restarts")
    if "num_custom_resource" in options and "resources" in table:
        quantity = options.pop("num_custom_resource")
        Option("num_custom_resource", _QUANTITY, None, checks.check_quantity).validate(quantity)
        if quantity is not None:
            options["resources"] = _with_custom(options.get("resources"), quantity)
    return options


def _rename(options: dict[str, Any], old: str, new: str) -> None:
    value = options.pop(old)
    if options.setdefault(new, value) != value:
        raise ValueError(f"{old}={value!r} and {new}={options[new]!r} are the same option")


def _with_custom(resources: Any, quantity: float) -> Any:
    if not isinstance(resources, dict | None):
        return resources  # of a wrong type, as will be told next
    if (resources or {}).get("custom", quantity) != quantity:
        raise ValueError("num_custom_resource and resources['custom'] differ")
    return {**(resources or {}), "custom": quantity}


def _check_placement_group(options: Mapping[str, Any]) -> None:
    group = options.get("placement_group", "default")
    if group not in ("default", None) and options.get("scheduling_strategy") is not None:
        raise ValueError("Give the placement group by the scheduling_strategy alone")


def _unknown_text(name: str, table: Mapping[str, Option], kind: str) -> str:
    near = difflib.get_close_matches(name, table, 1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"Invalid option keyword {name} for {kind}.{hint} Valid ones are {list(table)}."
