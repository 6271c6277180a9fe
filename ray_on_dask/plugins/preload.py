"""`--preload` of `dask scheduler` and `dask worker`: the cluster has the plugins from the start.

On the scheduler it makes every worker a node, so that `init(address=…)` needs nothing more. On a
worker it says how its node is set up; the scheduler may have the plugins from a preload, or get
them from the first driver.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import click

_given: WeakKeyDictionary[Any, dict[str, Any]] = WeakKeyDictionary()


def given_to(worker: Any) -> dict[str, Any]:
    """What a worker's own preload says about its node; {} if it has none."""
    return _given.get(worker, {})


def _bytes(context: Any, parameter: Any, value: str | None) -> int | None:
    if value is None:
        return None
    from dask.utils import parse_bytes

    try:
        return int(parse_bytes(value))
    except ValueError as error:
        raise click.BadParameter(f'{value!r} is no size such as "4GB"') from error


@click.command()
@click.option(
    "--ray-redis",
    default="",
    metavar="ADDRESS",
    help="Redis server for the error log: host:port, or redis://:password@host:port. "
    "Default: the scheduler starts one.",
)
@click.option(
    "--ray-redis-shards", default=0, metavar="N", help="Servers to start beside the primary."
)
@click.option(
    "--ray-redis-host", default="127.0.0.1", help="Address that servers started here listen on."
)
@click.option(
    "--object-store-memory",
    callback=_bytes,
    metavar="SIZE",
    help='Shared memory for the objects of each node, such as "4GB".',
)
@click.option("--plasma-directory", help="Where stored objects lie, instead of /dev/shm.")
@click.option("--ray-temp-dir", help="Where sockets and logs lie, instead of the system's choice.")
async def dask_setup(
    server: Any,
    ray_redis: str,
    ray_redis_shards: int,
    ray_redis_host: str,
    object_store_memory: int | None,
    plasma_directory: str | None,
    ray_temp_dir: str | None,
) -> None:
    """Make a Dask cluster serve `ray_on_dask` programs.

    Example: dask scheduler --preload ray_on_dask.plugins.scheduler --ray-redis redis.local:6379
    """
    node = {
        "object_store_memory": object_store_memory,
        "plasma_directory": plasma_directory,
        "temp_dir": ray_temp_dir,
    }
    node = {name: value for name, value in node.items() if value is not None}
    from distributed import Scheduler

    if not isinstance(server, Scheduler):
        _given[server] = node
        return
    from ray_on_dask.plugins.scheduler_plugin import ControlPlugin
    from ray_on_dask.plugins.worker_plugin import NodePlugin

    redis: dict[str, Any] = {"shards": ray_redis_shards, "host": ray_redis_host}
    if ray_redis:
        redis["url"] = ray_redis
    control = ControlPlugin(node=NodePlugin(**node), redis=redis)
    await server.register_scheduler_plugin(control, idempotent=True)
