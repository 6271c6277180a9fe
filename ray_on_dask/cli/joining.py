"""How a command finds the cluster that it is about."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click


def address_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--address`` of a command."""
    return click.option(
        "--address", envvar=["RAY_ON_DASK_ADDRESS", "RAY_ADDRESS"], default="auto",
        show_default=True, metavar="ADDRESS",
        help='tcp://host:port of the scheduler, or "auto" for the cluster started last here.',
    )(command)  # fmt: skip


@contextmanager
def joined(address: str) -> Iterator[Any]:
    """The package, joined to a cluster; what is wrong with it is said in one line."""
    import ray_on_dask
    from ray_on_dask.util.state import RayStateApiException

    try:
        ray_on_dask.init(address, log_to_driver=False, configure_logging=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    try:
        yield ray_on_dask
    except RayStateApiException as error:
        raise click.ClickException(str(error)) from error
    finally:
        ray_on_dask.shutdown()


def ask(what: str, **args: Any) -> Any:
    """A question to the control store of the cluster that was joined."""
    from ray_on_dask.runtime import current

    return current.require().asking.ask(what, **args)
