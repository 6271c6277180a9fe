"""``memory``: which objects processes share, and who keeps them."""

from __future__ import annotations

import click

from ray_on_dask.api import memory_listing
from ray_on_dask.cli.joining import address_option, joined


@click.command()
@address_option
@click.option(
    "--group-by", type=click.Choice(list(memory_listing.GROUPS)), default="NODE_ADDRESS",
    show_default=True, help="STACK_TRACE: by the function that makes it.",
)  # fmt: skip
@click.option(
    "--sort-by", type=click.Choice(list(memory_listing.SORTS)), default="OBJECT_SIZE",
    show_default=True, help="Order within a group.",
)  # fmt: skip
@click.option(
    "--units", type=click.Choice(list(memory_listing.UNITS)), default="B", show_default=True,
    help="Of sizes.",
)  # fmt: skip
@click.option("--stats-only", is_flag=True, help="Sums alone.")
@click.option("--num-entries", "-n", type=click.IntRange(1), help="At most so many of a group.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table")
def memory(
    address: str, group_by: str, sort_by: str, units: str, stats_only: bool,
    num_entries: int | None, form: str,
) -> None:  # fmt: skip
    """Objects that others than their owners know of: size, place, owner, and who holds them.

    \b
    ray-on-dask memory --sort-by PID --units MB
    ray-on-dask memory --format json -n 10
    """
    with joined(address):
        found = memory_listing.rows()
    if form == "json":
        import json

        click.echo(json.dumps(memory_listing.chosen(found, sort_by, num_entries), indent=2))
    else:
        click.echo(memory_listing.text(found, group_by, sort_by, units, stats_only, num_entries))
