"""What the value of one option must be, beyond its type.

Each check takes the name of the option and its value, which is not None, and
raises `ValueError` or `TypeError` if the value will not do.
"""

from __future__ import annotations

import re
from typing import Any

from ray_on_dask.label_syntax import is_label_key, is_label_value

#: Quantities of resources are whole numbers of ten-thousandths.
UNITS_PER_ONE = 10_000

_LABEL_SET = re.compile(r"in\((.*)\)")


def to_units(quantity: float) -> int:
    """A quantity in ten-thousandths; what is beyond the fourth decimal is cut off.

    Raises
    ------
    ValueError, OverflowError
        For NaN and infinity.
    """
    # Rounded first: 0.57 * 10,000 is 5,699.999999999999.
    return int(round(quantity * UNITS_PER_ONE, 4))


def check_quantity(name: str, value: Any) -> None:
    """At least 0, and not so small that it rounds to nothing."""
    if isinstance(value, str | bytes):
        raise TypeError(f"The quantity of resource {name} must be a number, not {value!r}")
    if value < 0:
        raise ValueError(f"The quantity of resource {name} cannot be negative: {value}")
    if value and not to_units(value):
        raise ValueError(f"The quantity of resource {name} cannot be less than 0.0001: {value}")


def check_resources(name: str, value: Any) -> None:
    """Custom resources: quantities, none of them under a name with an option of its own."""
    for key, option in (("CPU", "num_cpus"), ("GPU", "num_gpus")):
        if key in value:
            raise ValueError(f"Give {key} as {option}=..., not in {name}")
    for key, quantity in value.items():
        check_quantity(str(key), quantity)


def check_not_negative(name: str, value: Any) -> None:
    """0 or more."""
    if value < 0:
        raise ValueError(f"The keyword '{name}' must be None, 0 or positive, but is {value}")


def check_retries(name: str, value: Any) -> None:
    """-1 for ever, else how often."""
    if value < -1:
        raise ValueError(
            f"The keyword '{name}' must be None, -1 (no limit), 0 or positive, but is {value}"
        )


def check_num_returns(name: str, value: Any) -> None:
    """How many, or how a generator's values are returned."""
    if isinstance(value, str):
        if value not in ("streaming", "dynamic"):
            raise TypeError(f"{name} must be an int, 'streaming' or 'dynamic', but is {value!r}")
    else:
        check_not_negative(name, value)


def check_retry_exceptions(name: str, value: Any) -> None:
    """A bool, or classes of exceptions."""
    if not isinstance(value, bool):
        for cls in value:
            if not (isinstance(cls, type) and issubclass(cls, Exception)):
                raise ValueError(
                    f"{name} must be a bool or a list of subclasses of Exception; {cls!r} is none"
                )


def check_backpressure(name: str, value: Any) -> None:
    """How many values a generator may be ahead: not 0, which would never yield one."""
    if value == 0:
        raise ValueError(f"{name} must be positive, or -1 for no limit, but is 0")


def check_positive(name: str, value: Any) -> None:
    """1 or more."""
    if value < 1:
        raise ValueError(f"{name} must be positive, but is {value}")


def check_lifetime(name: str, value: Any) -> None:
    """One of two words."""
    if value not in ("detached", "non_detached"):
        raise ValueError(f"{name} must be 'detached', 'non_detached' or None, but is {value!r}")


def check_env_vars(name: str, value: Any) -> None:
    """A `runtime_env` whose environment variables are strings."""
    variables = value.get("env_vars") or {}
    if not isinstance(variables, dict):
        raise TypeError(f"{name}['env_vars'] must be a dict, but is a {type(variables)}")
    for pair in variables.items():
        if not all(isinstance(part, str) for part in pair):
            raise TypeError(f"{name}['env_vars'] must map str to str, but has {pair!r}")


def check_none(name: str, value: Any) -> None:
    """Only there to be None."""
    raise ValueError(f"{name} cannot be set for remote functions, only for actors")


def check_label_selector(name: str, value: Any) -> None:
    """`{key: value}`, each value `"v"`, `"!v"`, `"in(a,b)"` or `"!in(a,b)"`."""
    for key, wanted in value.items():
        if not isinstance(key, str) or not isinstance(wanted, str):
            raise TypeError(f"{name} must map str to str, but has {key!r}: {wanted!r}")
        if not is_label_key(key):
            raise ValueError(f"{key!r} in {name} is not a label: want [prefix/]name, {_SYNTAX}")
        if not _is_label_condition(wanted):
            raise ValueError(
                f"{wanted!r} in {name} is not 'v', '!v', 'in(a,b)' or '!in(a,b)', {_SYNTAX}"
            )


_SYNTAX = "each of at most 63 letters, digits, '-', '_' and '.', with a letter or digit at its ends"


def _is_label_condition(wanted: str) -> bool:
    if not wanted:
        return True
    positive = wanted.removeprefix("!")
    listed = _LABEL_SET.fullmatch(positive)
    values = listed.group(1).split(",") if listed else [positive]
    return all(is_label_value(value.strip()) for value in values)


def check_fallback_strategy(name: str, value: Any) -> None:
    """A list of `{"label_selector": {...}}`, to be tried in turn."""
    for entry in value:
        if not isinstance(entry, dict):
            raise ValueError(f"Each element of {name} must be a dict, but one is {entry!r}")
        if not entry or set(entry) != {"label_selector"}:
            raise ValueError(f"Each element of {name} must have the key 'label_selector' alone")
        check_label_selector("label_selector", entry["label_selector"])
