"""`@remote`: makes a remote function of a function and an actor class of a class."""

from __future__ import annotations

import inspect
from typing import Any

from ray_on_dask.api.actor_class import ActorClass
from ray_on_dask.api.options import actor_options, task_options
from ray_on_dask.api.remote_function import RemoteFunction

_HOW = (
    "The @ray.remote decorator must be applied to either a function or a class, with no arguments "
    "and no parentheses ('@ray.remote'), or with some of the arguments 'num_returns', 'num_cpus', "
    "'num_gpus', 'memory', 'resources', 'max_calls', 'max_restarts', and others by keyword, for "
    "example '@ray.remote(num_returns=2, resources={\"Custom\": 1})'."
)


def remote(*args: Any, **options: Any) -> Any:
    """Make a function or class remote: its calls run in other processes.

    Parameters
    ----------
    target : callable, optional
        A function (also a built-in or Cython one, or a lambda) or a class. As a decorator:
        ``@remote``, or ``@remote(num_cpus=2)``.
    **options
        For functions ``num_cpus``, ``num_gpus``, ``memory``, ``resources``, ``num_returns``,
        ``max_calls``, ``max_retries``, ``retry_exceptions``, ``name``, ``runtime_env``,
        ``scheduling_strategy`` and more; for classes also ``max_restarts``, ``max_task_retries``,
        ``max_concurrency``, ``lifetime``, ``namespace``, …; `docs/compatibility.md` has all.

    Returns
    -------
    RemoteFunction or ActorClass
        Call its `.remote(...)`.

    Raises
    ------
    AssertionError
        For ``@remote()`` and positional options.
    TypeError, ValueError
        For what is neither function nor class, and for options that are none or cannot be.

    Examples
    --------
    >>> import ray_on_dask as ray
    >>> @ray.remote
    ... def add(a, b):
    ...     return a + b
    >>> ray.get(add.remote(1, 2))
    3
    """
    if len(args) == 1 and not options and callable(args[0]):
        return make_remote(args[0], {})
    if len(args) == 1 and callable(args[0]) and options:
        return make_remote(args[0], options)
    assert not args and options, _HOW
    return lambda target: make_remote(target, options)


def make_remote(target: Any, options: dict[str, Any]) -> RemoteFunction | ActorClass:
    """The remote form of a function or class."""
    if inspect.isclass(target):
        return ActorClass(target, actor_options(**options))
    if inspect.isroutine(target) or _is_cython(target):
        return RemoteFunction(target, task_options(**options))
    raise TypeError(
        "The @ray.remote decorator must be applied to either a function or a class, "
        f"not to {target!r}."
    )


def _is_cython(target: Any) -> bool:
    return type(target).__name__ in ("cython_function_or_method", "fused_cython_function")
