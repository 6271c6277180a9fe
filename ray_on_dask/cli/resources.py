"""``list``, ``get`` and ``summary``: the state calls as commands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from ray_on_dask.cli.joining import address_option, joined
from ray_on_dask.cli.showing import format_option, show
from ray_on_dask.util.state.client import RESOURCES, SINGLE, SUMMARIES


def _timeout(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--timeout", default=30.0, show_default=True,
                        help="Seconds for an answer.")(command)  # fmt: skip


@click.command("list")
@click.argument("resource", type=click.Choice([*RESOURCES]))
@click.option("-f", "--filter", "filters", multiple=True, metavar="FIELD=VALUE",
              help="Only what meets it, also FIELD!=VALUE; repeatable.")  # fmt: skip
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 10_000))
@click.option("--detail", is_flag=True, help="All fields.")
@_timeout
@address_option
@format_option
def list_(
    resource: str, filters: tuple[str, ...], limit: int, detail: bool, timeout: float,
    address: str, form: str,
) -> None:  # fmt: skip
    """List all of one kind of RESOURCE.

    \b
    ray-on-dask list actors --filter state=ALIVE
    ray-on-dask list tasks -f state=FAILED -f name!=f --detail --format yaml
    """
    conditions = [_condition(text) for text in filters]
    with joined(address):
        from ray_on_dask.util.state import StateApiClient

        client = StateApiClient()
        found = client.list(
            resource, filters=conditions, limit=limit, timeout=timeout, detail=detail
        )
    rows = [x.asdict() for x in found]
    columns = found[0].columns() if found and detail else found[0].columns(detail=False) if found \
        else []  # fmt: skip
    if not detail:
        rows = [{name: row[name] for name in columns} for row in rows]
    show(rows, columns, form)


def _condition(text: str) -> tuple[str, str, str]:
    for sign in ("!=", "<=", ">=", "=", "<", ">"):
        field, found, value = text.partition(sign)
        if found and field:
            return field.strip(), sign, value.strip()
    raise click.BadParameter(f"{text!r} is no FIELD=VALUE", param_hint="--filter")


@click.command()
@click.argument("resource", type=click.Choice([*SINGLE]))
@click.argument("id")
@_timeout
@address_option
@format_option
def get(resource: str, id: str, timeout: float, address: str, form: str) -> None:
    """Show one RESOURCE by its ID, with all details.

    \b
    ray-on-dask get actors 5c35a2d1f1bfdabb1c0f0f9d01000000
    """
    with joined(address):
        from ray_on_dask.util.state import StateApiClient

        found = StateApiClient().get(resource, id, timeout=timeout)
    if not found:
        raise click.ClickException(f"There is none of the {resource} with the id {id}.")
    rows = [x.asdict() for x in found] if isinstance(found, list) else found.asdict()
    if form != "table":
        show(rows, [], form)
        return
    for row in rows if isinstance(rows, list) else [rows]:
        pairs = [{"field": name, name: value} for name, value in row.items()]
        show([{"field": pair["field"], "value": _value(pair)} for pair in pairs],
             ["field", "value"], form)  # fmt: skip


def _value(pair: dict[str, Any]) -> str:
    from ray_on_dask.cli.showing import cell

    return cell(pair[pair["field"]], pair["field"])


@click.command()
@click.argument("resource", type=click.Choice(SUMMARIES))
@_timeout
@address_option
@format_option
def summary(resource: str, timeout: float, address: str, form: str) -> None:
    """Numbers of actors, objects or tasks, by what they are of and in which state.

    \b
    ray-on-dask summary tasks
    """
    with joined(address):
        from ray_on_dask.util.state import StateApiClient

        found = StateApiClient().summary(resource, timeout=timeout)
    if form != "table":
        show(found, [], form)
        return
    rows = [{"name": name, **one} for name, one in found["cluster"]["summary"].items()]
    columns = [x for x in (rows[0] if rows else ()) if x not in ("func_or_class_name", "class_name",
               "task_state_counts")]  # fmt: skip
    show(rows, columns, form)
