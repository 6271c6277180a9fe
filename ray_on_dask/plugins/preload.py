"""`--preload` of `dask scheduler` and `dask worker`: the cluster has the plugins from the start.

On the scheduler it makes every worker a node, so that `init(address=…)` needs nothing more. On a
worker it says how its node is set up; the scheduler may have the plugins from a preload, or get
them from the first driver.
"""

from __future__ import annotations

import sys
from typing import Any
from weakref import WeakKeyDictionary

import click

from ray_on_dask.label_syntax import is_label_key, is_label_value

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


def _labels(context: Any, parameter: Any, value: str | None) -> dict[str, str] | None:
    if value is None:
        return None
    labels = {}
    for pair in filter(None, (pair.strip() for pair in value.split(","))):
        key, equals, label = (part.strip() for part in pair.partition("="))
        if not equals or not is_label_key(key) or (label and not is_label_value(label)):
            raise click.BadParameter(f'{pair!r} is no label such as "zone=a"')
        labels[key] = label
    return labels


def _resources(context: Any, parameter: Any, value: str | None) -> dict[str, float] | None:
    if value is None:
        return None
    resources = {}
    for pair in value.replace(",", " ").split():
        name, _, quantity = pair.rpartition("=")
        try:
            resources[name] = float(quantity)
        except ValueError:
            resources[name] = -1.0
        if not name or not resources[name] >= 0:
            raise click.BadParameter(f'{pair!r} is no quantity such as "disk=4"')
    return resources


class _Preload(click.Command):
    """A wrong option ends the process: Dask would log it, and go on without this package."""

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        """Take the options in."""
        try:
            return super().make_context(*arguments, **options)
        except click.ClickException as error:
            error.show()
            sys.exit(2)


@click.command(
    cls=_Preload,
    epilog="Each of these about nodes may be a setting of Dask's configuration instead, under "
    "ray-on-dask, such as plasma-directory. CPUs are Dask's --nthreads, unless told otherwise.",
)
@click.option(
    "--ray-redis",
    default="",
    metavar="ADDRESS",
    help="Redis server for the error log: host:port, or redis://:password@host:port. "
    "Default: the scheduler starts one. (Scheduler only.)",
)
@click.option(
    "--ray-redis-shards",
    default=0,
    metavar="N",
    type=click.IntRange(0),
    help="Servers to start beside the primary. (Scheduler only.)",
)
@click.option(
    "--ray-redis-host",
    default="127.0.0.1",
    show_default=True,
    help="Address that servers started here listen on. (Scheduler only.)",
)
@click.option(
    "--object-store-memory",
    callback=_bytes,
    metavar="SIZE",
    help='Shared memory for the objects of each node, such as "4GB".',
)
@click.option("--plasma-directory", help="Where stored objects lie, instead of /dev/shm.")
@click.option(
    "--ray-spill-directory",
    help="Where objects go that memory has no room for, instead of the worker's directory.",
)
@click.option("--ray-temp-dir", help="Where sockets and logs lie, instead of the system's choice.")
@click.option(
    "--ray-num-cpus",
    type=click.FloatRange(0),
    metavar="N",
    help="CPUs that a node hands out, if not as many as Dask's --nthreads.",
)
@click.option(
    "--ray-num-gpus",
    type=click.IntRange(0),
    metavar="N",
    help="GPUs that a node hands out, if not those that it finds.",
)
@click.option(
    "--ray-memory", callback=_bytes, metavar="SIZE", help="Memory that tasks may ask for."
)
@click.option(
    "--ray-resources",
    callback=_resources,
    metavar='"NAME=N ..."',
    help='Further resources of a node, for this package\'s tasks alone, such as "disk=4 net=0.5".',
)
@click.option(
    "--labels",
    callback=_labels,
    metavar='"KEY=VALUE,..."',
    help='Labels of a node, for label_selector, such as "zone=a,disk=fast".',
)
async def dask_setup(
    server: Any, ray_redis: str, ray_redis_shards: int, ray_redis_host: str, **node: Any
) -> None:
    """Make a Dask cluster serve `ray_on_dask` programs.

    Examples:

    dask scheduler --preload ray_on_dask.plugins.scheduler --ray-redis redis.local:6379

    dask worker tcp://scheduler:8786 --preload ray_on_dask.plugins.worker --labels zone=a
    """
    given = {_NAMES.get(name, name): value for name, value in node.items() if value is not None}
    from distributed import Scheduler

    if not isinstance(server, Scheduler):
        _given[server] = given
        return
    from ray_on_dask.plugins.scheduler_plugin import ControlPlugin
    from ray_on_dask.plugins.worker_plugin import NodePlugin

    redis: dict[str, Any] = {"shards": ray_redis_shards, "host": ray_redis_host}
    if ray_redis:
        redis["url"] = ray_redis
    control = ControlPlugin(node=NodePlugin(**given), redis=redis)
    await server.register_scheduler_plugin(control, idempotent=True)


def show_help() -> None:
    """Print what options there are."""
    with click.Context(dask_setup, info_name="dask scheduler|worker --preload ...") as context:
        click.echo(dask_setup.get_help(context))


#: Options that are not called as `node_options` calls them.
_NAMES = {
    "ray_temp_dir": "temp_dir", "ray_spill_directory": "spill_directory",
    "ray_num_cpus": "num_cpus", "ray_num_gpus": "num_gpus", "ray_memory": "memory",
    "ray_resources": "resources",
}  # fmt: skip
