"""``logs``, ``timeline``, ``kill-actor``."""

from __future__ import annotations

import click

from ray_on_dask.cli.joining import address_option, joined


@click.command()
@click.argument("glob", default="*")
@click.option("--actor", "actor_id", metavar="ID", help="Of this actor.")
@click.option("--task", "task_id", metavar="ID", help="Of this task.")
@click.option("--pid", type=int, help="Of this executor.")
@click.option("--node-id", metavar="ID", help="On this node.")
@click.option("--err", is_flag=True, help="What went to stderr, not to stdout.")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is printed from now on.")
@click.option("--tail", default=-1, metavar="N", help="The last N lines; by default all that are "
              "kept.")  # fmt: skip
@address_option
def logs(
    glob: str, actor_id: str | None, task_id: str | None, pid: int | None, node_id: str | None,
    err: bool, follow: bool, tail: int, address: str,
) -> None:  # fmt: skip
    """What tasks and actors have printed: the latest lines of each executor.

    Without an option it lists the logs that there are and match GLOB; the whole name of one shows
    it.

    \b
    ray-on-dask logs
    ray-on-dask logs --pid 1234 --follow
    ray-on-dask logs --actor 5c35a2d1f1bfdabb1c0f0f9d01000000 --err --tail 20
    """
    with joined(address):
        from ray_on_dask.util.state import get_log, list_logs

        chosen = actor_id or task_id or pid
        if not chosen:
            groups = list_logs(node_id=node_id, glob_filter=glob)
            names = [name for group in groups.values() for name in group]
            if names != [glob]:
                click.echo("\n".join(names) or "none")
                return
        lines = get_log(
            filename=None if chosen else glob, actor_id=actor_id, task_id=task_id, pid=pid,
            node_id=node_id, suffix="err" if err else "out", follow=follow, tail=tail,
        )  # fmt: skip
        for line in lines:
            click.echo(line, nl=False)


@click.command()
@address_option
@click.argument("file", default="timeline.json")
def timeline(address: str, file: str) -> None:
    """Write what ran when to FILE, for chrome://tracing or https://ui.perfetto.dev.

    \b
    ray-on-dask timeline trace.json
    """
    with joined(address) as module:
        module.timeline(file)
    click.echo(f"Wrote {file}.")


@click.command()
@click.option("--name", required=True, help="The actor's name.")
@click.option("--namespace", default="", help="The namespace that its name is in.")
@click.option("--no-restart/--restart", default=True, show_default=True,
              help="Whether it stays dead, whatever its max_restarts.")  # fmt: skip
@click.option("--force", is_flag=True, help="Accepted: actors are always killed at once.")
@address_option
def kill_actor(name: str, namespace: str, no_restart: bool, force: bool, address: str) -> None:
    """Kill an actor by its name.

    \b
    ray-on-dask kill-actor --name server --namespace prod
    """
    with joined(address) as module:
        try:
            actor = module.get_actor(name, namespace=namespace or _namespace_of(name))
        except ValueError as error:
            raise click.ClickException(str(error)) from error
        module.kill(actor, no_restart=no_restart)
    click.echo(f"Killed the actor {name}.")


def _namespace_of(name: str) -> str:
    """The one namespace that has an actor of that name."""
    from ray_on_dask.util import list_named_actors

    found = [x["namespace"] for x in list_named_actors(all_namespaces=True) if x["name"] == name]
    if len(found) > 1:
        raise click.ClickException(
            f"There are actors named {name} in several namespaces, give one: {', '.join(found)}"
        )
    if not found:
        raise click.ClickException(f"There is no actor named {name}.")
    return str(found[0])
