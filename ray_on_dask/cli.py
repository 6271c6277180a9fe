"""The command line: ``ray-on-dask …``, and ``dask ray …`` which is the same.

Commands that look at a cluster join it as a driver for that moment.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import click

from ray_on_dask import __version__

Rows = list[dict[str, Any]]
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(context_settings=CONTEXT)
@click.version_option(__version__, prog_name="ray-on-dask")
def main() -> None:
    """Ray programs on a Dask cluster: start one, stop it, look at it.

    \b
    ray-on-dask start --head            a cluster on this machine, for several drivers
    ray-on-dask status                  what it has, and what is free
    ray-on-dask nodes --format json     its nodes
    ray-on-dask stop                    end it

    A driver joins it by init("auto"), or from other machines by init("tcp://host:port").
    """


#: The same group, as a command of `dask`.
ray = main


def _address(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--address", default="auto", show_default=True, metavar="ADDRESS",
        help='tcp://host:port of the scheduler, or "auto" for the cluster started last here.',
    )(command)  # fmt: skip


def _format(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--format", "form", type=click.Choice(["table", "json"]), default="table",
        show_default=True, help="How to print it.",
    )(command)  # fmt: skip


@contextmanager
def _joined(address: str) -> Iterator[Any]:
    """The package, joined to a cluster; what is wrong with it is said in one line."""
    import ray_on_dask

    try:
        ray_on_dask.init(address, log_to_driver=False, configure_logging=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    try:
        yield ray_on_dask
    finally:
        ray_on_dask.shutdown()


def _ask(what: str, **args: Any) -> Any:
    from ray_on_dask.runtime import current

    return current.require().asking.ask(what, **args)


def table(rows: Rows, columns: list[str]) -> str:
    """Rows as aligned text under their columns' names."""
    texts = [[name.upper() for name in columns]]
    texts += [[_cell(row.get(name), name) for name in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    lines = ("  ".join(map(str.ljust, line, widths)).rstrip() for line in texts)
    return "\n".join(lines)


def _cell(value: Any, name: str = "") -> str:
    if isinstance(value, float):
        if name.endswith("memory"):
            return f"{value / 2**30:.1f} GiB"
        if name == "timestamp":
            return f"{datetime.fromtimestamp(value):%Y-%m-%d %H:%M:%S}"
        return f"{value:g}"
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return ", ".join(f"{key}={_cell(item, key)}" for key, item in value.items())
    return "-" if value is None or value == "" else str(value).replace("\n", " ")[:100]


def _show(rows: Rows, columns: list[str], form: str) -> None:
    if form == "json":
        click.echo(json.dumps(rows, indent=2, default=_plain))
    else:
        click.echo(table(rows, columns) if rows else "none")


def _plain(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


@main.command()
@click.option("--head", is_flag=True, help="Start a scheduler with a node.")
@click.option(
    "--address", metavar="ADDRESS", help="Add a node to the scheduler at tcp://host:port."
)
@click.option(
    "--host", default="127.0.0.1", show_default=True,
    help="Address to listen on. Anybody who reaches it can run code: open it to trusted networks "
    "alone.",
)  # fmt: skip
@click.option("--port", default=0, help="The scheduler's port; 0 for any that is free.")
@click.option("--num-cpus", type=int, help="CPUs of the node; by default what there is.")
@click.option("--num-gpus", type=int, help="GPUs of the node; by default what there is.")
@click.option("--resources", metavar="JSON", help="""Further resources, as '{"disks": 2}'.""")
@click.option("--object-store-memory", metavar="SIZE", help='Shared memory for objects, as "4GB".')
@click.option("--dashboard-port", type=int, help="By default 8787, or any that is free.")
def start(head: bool, address: str | None, **given: Any) -> None:
    """Start a cluster on this machine, or a node of one; it runs until `stop`.

    \b
    ray-on-dask start --head --num-cpus 4
    ray-on-dask start --head --host 10.0.0.1 --port 8786
    ray-on-dask start --address tcp://10.0.0.1:8786
    """
    if head == bool(address):
        raise click.UsageError("Give either --head or --address.")
    from ray_on_dask.runtime import detached

    try:
        if head:
            where = detached.start_head(**given)
            click.echo(f"Started a cluster at {where}.")
            click.echo('Drivers here join it by init("auto"); `ray-on-dask stop` ends it.')
        else:
            click.echo(f"Started a node: process {detached.start_node(str(address), **given)}.")
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise click.ClickException(str(error)) from error


@main.command()
@click.option("--timeout", default=10.0, show_default=True, help="Seconds before they are killed.")
def stop(timeout: float) -> None:
    """End what `start` has started on this machine."""
    from ray_on_dask.runtime import detached

    stopped = detached.stop_all(timeout)
    click.echo(f"Stopped {len(stopped)} processes." if stopped else "Nothing to stop.")


@main.command()
@_address
@_format
def status(address: str, form: str) -> None:
    """What the cluster has, what of it is free, and who uses it."""
    with _joined(address) as module:
        total, free = module.cluster_resources(), module.available_resources()
        facts = {
            "address": _ask("session")["scheduler_address"],
            "nodes": sum(node["Alive"] for node in module.nodes()),
            "drivers": sum(not job["ended"] for job in _ask("jobs")) - 1,
            "actors": sum(actor["state"] != "DEAD" for actor in _ask("actors")),
        }  # fmt: skip
    if form == "json":
        click.echo(json.dumps({**facts, "total": total, "available": free}, indent=2))
        return
    click.echo("  ".join(f"{name}: {value}" for name, value in facts.items()))
    rows = [
        {"resource": k, "total": _cell(v, k), "available": _cell(free.get(k, 0.0), k)}
        for k, v in sorted(total.items())
    ]
    click.echo(table(rows, ["resource", "total", "available"]))


@main.command()
@_address
@_format
def nodes(address: str, form: str) -> None:
    """The nodes, those that have died too."""
    with _joined(address):
        found = _ask("nodes")
    for row in found:
        row["state"] = "ALIVE" if row["alive"] else f"DEAD ({row['reason']})"
        row["node"] = row["name"][:16]
    _show(found, ["node", "ip", "pid", "state", "executors", "resources"], form)


@main.command()
@_address
@_format
def actors(address: str, form: str) -> None:
    """The actors, those that have died too."""
    with _joined(address):
        found = _ask("actors")
    _show(found, ["actor", "class_name", "state", "name", "job", "pid", "node"], form)


@main.command()
@_address
@_format
@click.option("--job", help="Of one job alone, by its number.")
@click.option("--limit", default=100, show_default=True, help="At most so many, the newest.")
def errors(address: str, form: str, job: str | None, limit: int) -> None:
    """Failures of tasks and actors, from the error log."""
    with _joined(address):
        from ray_on_dask.api.error_info import read_log

        found = read_log(job, limit)
    _show(found, ["job_id", "type", "timestamp", "data", "message"], form)


@main.command()
@_address
@click.argument("file", default="timeline.json")
def timeline(address: str, file: str) -> None:
    """Write what ran when to FILE, for chrome://tracing or Perfetto."""
    with _joined(address) as module:
        module.timeline(file)
    click.echo(f"Wrote {file}.")


if __name__ == "__main__":
    main()
