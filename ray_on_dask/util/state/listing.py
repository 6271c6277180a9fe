"""Questions to the control store, and choosing among the answers: filters, limits, details."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, TypeVar

from ray_on_dask.exceptions import GetTimeoutError, RaySystemError
from ray_on_dask.runtime import current
from ray_on_dask.util.state.records import State

#: ``(field, operator, value)``.
Filter = tuple[str, str, Any]
S = TypeVar("S", bound=State)

#: No list is longer.
LIMIT_MAX = 10_000
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le,
    ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


class RayStateApiException(RaySystemError, ValueError):
    """A question about the state of the cluster cannot be answered, or not be asked like this."""


class ServerUnavailable(RayStateApiException):
    """There is no session to ask, or the control store does not answer in time."""


def ask(what: str, timeout: float, **args: Any) -> Any:
    """The control store's answer; `RayStateApiException` if there is none."""
    process = current.process
    if process is None:
        raise ServerUnavailable("there is no session to list anything of: call init() first")
    try:
        return process.asking.ask(what, timeout=timeout, **args)
    except GetTimeoutError as error:
        raise ServerUnavailable(str(error)) from error
    except ValueError as error:
        raise RayStateApiException(str(error)) from error


def select(
    records: Iterable[S],
    kind: type[S],
    filters: Iterable[Filter] | None,
    limit: int,
    details: bool = False,
) -> list[S]:
    """The first `limit` records that pass all filters.

    Raises
    ------
    RayStateApiException
        For a field that the records do not have, or that cannot be filtered by, another operator,
        and a limit that cannot be. It is a `ValueError` too.
    """
    if isinstance(limit, bool) or not isinstance(limit, int) or not 0 < limit <= LIMIT_MAX:
        raise RayStateApiException(f"limit must be 1 to {LIMIT_MAX}, but is {limit!r}")
    checks = [_check(item, kind) for item in filters or ()]
    passed = (record for record in records if all(check(record) for check in checks))
    found = [record for record, _ in zip(passed, range(limit), strict=False)]
    return found if details else [without_details(record) for record in found]


def without_details(record: S) -> S:
    """The record with None for its details."""
    return replace(record, **dict.fromkeys(record.columns(detail=True)))


def _check(item: Filter, kind: type[State]) -> Callable[[State], bool]:
    try:
        name, sign, value = item
    except (TypeError, ValueError):
        raise RayStateApiException(
            f"a filter is (field, operator, value), but {item!r} was given"
        ) from None
    compare = _OPERATORS.get(sign)
    able = kind.columns(filterable=True)
    if name not in able:
        raise RayStateApiException(
            f"{name!r} is no field of {kind.__name__} to filter by: {', '.join(able)} are"
        )
    if compare is None:
        raise RayStateApiException(
            f"{sign!r} is no operator for filters: it is one of {[*_OPERATORS]}"
        )

    def check(record: State) -> bool:
        return compare(*_alike(record[name], value))

    return check


def _alike(have: Any, given: Any) -> tuple[Any, Any]:
    """Both sides of a comparison: numbers may be given as text, text in any case."""
    if isinstance(have, bool):
        return str(have).lower(), str(given).lower()
    if isinstance(have, int | float) and isinstance(given, str):
        try:
            return float(have), float(given)
        except ValueError:
            raise RayStateApiException(f"a number is compared with {given!r}") from None
    if isinstance(have, str) and isinstance(given, str):
        return have.lower(), given.lower()
    return have, given
