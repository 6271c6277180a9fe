"""``start``, ``stop``, ``status``."""

from __future__ import annotations

import json
from typing import Any

import click

from ray_on_dask.cli.joining import address_option, ask, joined
from ray_on_dask.cli.showing import cell, format_option, show, table


@click.command()
@click.option("--head", is_flag=True, help="Start a scheduler with a node.")
@click.option("--address", metavar="ADDRESS",
              help='Add a node to the scheduler at tcp://host:port, or "auto".')  # fmt: skip
@click.option(
    "--host", "--node-ip-address", default="127.0.0.1", show_default=True,
    help="Address to listen on. Anybody who reaches it can run code: open it to trusted networks "
    "alone.",
)  # fmt: skip
@click.option("--port", default=0, help="The scheduler's port; 0 for any that is free.")
@click.option("--num-cpus", type=int, help="CPUs of the node; by default what there is.")
@click.option("--num-gpus", type=int, help="GPUs of the node; by default what there is.")
@click.option("--resources", metavar="JSON", help="""Further resources, as '{"disks": 2}'.""")
@click.option("--labels", metavar="LABELS",
              help="""Labels of the node, as 'zone=a,disk=ssd' or as JSON.""")  # fmt: skip
@click.option("--object-store-memory", metavar="SIZE", help='Shared memory for objects, as "4GB".')
@click.option("--plasma-directory", metavar="PATH",
              help="Where stored objects lie, instead of /dev/shm.")  # fmt: skip
@click.option("--redis-port", type=int, metavar="PORT",
              help="Of the error log's server; by default any. With --head.")  # fmt: skip
@click.option("--include-dashboard/--no-dashboard", default=None, help="With --head.")
@click.option("--dashboard-host", metavar="HOST", help="By default 127.0.0.1. With --head.")
@click.option("--dashboard-port", type=int, metavar="PORT",
              help="By default 8787, or any that is free. With --head.")  # fmt: skip
@click.option("--block", is_flag=True, help="Stay until it ends; Ctrl-C ends it.")
def start(head: bool, address: str | None, block: bool, **given: Any) -> None:
    """Start a cluster on this machine, or a node of one; it runs until `stop`.

    \b
    ray-on-dask start --head --num-cpus 4
    ray-on-dask start --head --host 10.0.0.1 --port 8786 --dashboard-port 8265
    ray-on-dask start --address tcp://10.0.0.1:8786 --host 10.0.0.2 --labels zone=b
    ray-on-dask start --address auto --num-cpus 2 --block
    """
    if head == bool(address):
        raise click.UsageError("Give either --head or --address.")
    given = {name: value for name, value in given.items() if value is not None}
    if address:
        for name in ("redis_port", "include_dashboard", "dashboard_host", "dashboard_port"):
            if name in given:
                raise click.UsageError(f"--{name.replace('_', '-')} goes with --head alone.")
    from ray_on_dask.runtime import detached

    try:
        given["resources"] = _json("--resources", given.get("resources"))
        given["labels"] = _labels(given.get("labels"))
        if head:
            process = _start_head(given)
        else:
            process = detached.start_node(str(address), **given)
            click.echo(f"Started a node: process {process.pid}.")
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    if block and detached.wait(process):
        raise click.ClickException(f"It has ended by itself (exit status {process.returncode}).")


def _start_head(given: dict[str, Any]) -> Any:
    from ray_on_dask.runtime import detached

    where, process = detached.start_head(**given)
    click.echo(f"Started a cluster at {where}.")
    click.echo('Drivers here join it by init("auto"); `ray-on-dask stop` ends it.')
    click.echo(f"More nodes: ray-on-dask start --address {where}")
    return process


def _json(option: str, text: str | None) -> dict[str, float]:
    if not text:
        return {}
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise click.BadParameter(
            f"""{option} {text!r} is no JSON object such as '{{"disks": 2}}'"""
        )
    return found


def _labels(text: str | None) -> dict[str, str]:
    if not text:
        return {}
    if text.lstrip().startswith("{"):
        return {str(key): str(value) for key, value in _json("--labels", text).items()}
    pairs = [pair.partition("=") for pair in text.split(",")]
    if not all(key and sign for key, sign, _ in pairs):
        raise click.BadParameter(f"--labels {text!r}: 'key=value,key=value' is expected")
    return {key.strip(): value.strip() for key, _, value in pairs}


@click.command()
@click.option("-f", "--force", is_flag=True, help="Kill at once.")
@click.option("-g", "--grace-period", "--timeout", "timeout", default=10.0, show_default=True,
              help="Seconds before they are killed.")  # fmt: skip
def stop(force: bool, timeout: float) -> None:
    """End what `start` has started on this machine, and nothing else.

    \b
    ray-on-dask stop
    ray-on-dask stop --grace-period 60
    """
    from ray_on_dask.runtime import detached

    stopped = detached.stop_all(0.0 if force else timeout)
    click.echo(f"Stopped {len(stopped)} processes." if stopped else "Nothing to stop.")


@click.command()
@address_option
@format_option
def status(address: str, form: str) -> None:
    """What the cluster has, what of it is free, who uses it, and who waits and why.

    \b
    ray-on-dask status
    ray-on-dask status --address tcp://10.0.0.1:8786 --format json
    """
    with joined(address) as module:
        total, free = module.cluster_resources(), module.available_resources()
        facts = {
            "address": ask("session")["scheduler_address"],
            "dashboard": ask("session").get("dashboard_url", ""),
            "nodes": sum(node["Alive"] for node in module.nodes()),
            "drivers": sum(not job["ended"] for job in ask("jobs")) - 1,
            "actors": sum(actor["state"] != "DEAD" for actor in ask("actors")),
        }  # fmt: skip
        demands = ask("demands")
    if form != "table":
        show({**facts, "total": total, "available": free, "demands": demands}, [], form)
        return
    click.echo("  ".join(f"{name}: {cell(value)}" for name, value in facts.items()))
    rows = [
        {"resource": k, "total": cell(v, k), "available": cell(free.get(k, 0.0), k)}
        for k, v in sorted(total.items())
        if "_group_" not in k
    ]
    click.echo(table(rows, ["resource", "total", "available"]))
    if demands:
        click.echo("\nWaiting:")
        click.echo(table(demands, ["what", "kind", "wanted", "resources", "seconds", "why"]))
