"""`@method`: options of an actor's method."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray_on_dask.api.options import method_options


def method(*args: Any, **options: Any) -> Any:
    """Give a method of an actor class options: ``@method(num_returns=2)``.

    Parameters
    ----------
    **options
        ``num_returns``, ``concurrency_group``, ``max_task_retries``, ``retry_exceptions``, …

    Raises
    ------
    AssertionError
        For unknown options.
    """
    if len(args) == 1 and callable(args[0]) and not options:
        return args[0]
    assert not args, "ray.method takes its options by keyword, such as @ray.method(num_returns=2)"
    checked = method_options(**options)

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        function.__ray_method_options__ = checked  # type: ignore[attr-defined]
        return function

    return decorate
