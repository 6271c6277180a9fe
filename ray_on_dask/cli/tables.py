"""Commands that show one kind of thing each: ``nodes``, ``actors``, ``tasks``, …."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from ray_on_dask.cli.joining import address_option, ask, joined
from ray_on_dask.cli.showing import Rows, format_option, show


def _limit(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--limit", default=100, show_default=True, type=click.IntRange(1, 10_000),
        help="At most so many.",
    )(command)  # fmt: skip


@click.command()
@address_option
@format_option
def nodes(address: str, form: str) -> None:
    """The nodes, those that have died too.

    \b
    ray-on-dask nodes
    """
    with joined(address):
        found: Rows = ask("nodes")
    for row in found:
        row["state"] = "ALIVE" if row["alive"] else f"DEAD ({row['reason']})"
        row["node"] = row["name"][:16]
    show(found, ["node", "ip", "pid", "state", "executors", "resources", "labels"], form)


@click.command()
@address_option
@format_option
@click.option("--state", help="ALIVE, PENDING, RESTARTING or DEAD alone.")
@_limit
def actors(address: str, form: str, state: str | None, limit: int) -> None:
    """The actors, the latest dead ones too: where they are, their calls, their restarts.

    \b
    ray-on-dask actors --state ALIVE
    """
    with joined(address):
        found: Rows = ask("actors")
    found = [x for x in found if state is None or x["state"] == state.upper()][-limit:]
    for row in found:
        row["node_id"], row["node"] = row["node"], row["node"][:16]
        row.update(calls=row["done"], pending=row["waiting"])
    columns = ["actor_id", "class_name", "state", "name", "job", "pid", "node", "calls", "pending",
               "restarts"]  # fmt: skip
    show(found, columns, form)


@click.command()
@address_option
@format_option
@click.option("--name", help="Of this function or method alone.")
@click.option("--state", help="RUNNING, FINISHED or FAILED alone.")
@_limit
def tasks(address: str, form: str, name: str | None, state: str | None, limit: int) -> None:
    """Tasks and calls that run, and the latest that have ended.

    \b
    ray-on-dask tasks --state FAILED
    ray-on-dask tasks --name train --format json
    """
    filters = [(k, "=", v) for k, v in (("name", name), ("state", state)) if v is not None]
    with joined(address):
        from ray_on_dask.util import state as states

        found = [x.asdict() for x in states.list_tasks(filters=filters, limit=limit, detail=True)]
    for row in found:
        row["node"] = (row["node_id"] or "")[:16]
    columns = ["task_id", "name", "state", "job_id", "node", "worker_pid", "start_time_ms",
               "end_time_ms"]  # fmt: skip
    show(found, columns, form)


@click.command()
@address_option
@format_option
@_limit
def objects(address: str, form: str, limit: int) -> None:
    """Objects of which others than their owners know, the largest first.

    \b
    ray-on-dask objects --limit 20
    """
    with joined(address):
        from ray_on_dask.util import state as states

        found = [x.asdict() for x in states.list_objects(limit=10_000, detail=True)]
    found.sort(key=lambda row: -row["object_size"])
    for row in found:
        row["node"] = (row["node_id"] or "")[:16]
    columns = ["object_id", "object_size", "call_site", "reference_type", "pid", "node"]
    show(found[:limit], columns, form)


@click.command()
@address_option
@format_option
@click.option("--job", help="Of one job alone, by its number.")
@_limit
def errors(address: str, form: str, job: str | None, limit: int) -> None:
    """Failures of tasks and actors, from the error log.

    \b
    ray-on-dask errors --limit 10
    """
    with joined(address):
        from ray_on_dask.api.error_info import read_log

        found = read_log(job, limit)
    show(found, ["job_id", "type", "timestamp", "data", "message"], form)


@click.command()
@address_option
@format_option
def placement_groups(address: str, form: str) -> None:
    """The placement groups, the latest removed ones too.

    \b
    ray-on-dask placement-groups
    """
    with joined(address):
        found: Rows = ask("placement_groups")
    for row in found:
        row["bundles"] = "; ".join(
            ", ".join(f"{units:g} {name}" for name, units in bundle.items())
            + f" @ {row['nodes'].get(index, '')[:8] or '-'}"
            for index, bundle in enumerate(row["bundles"])
        )
    show(found, ["id", "name", "state", "strategy", "job", "bundles"], form)
