"""``job submit`` and what comes after it."""

from __future__ import annotations

import asyncio
import json
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from ray_on_dask.cli.joining import address_option, joined
from ray_on_dask.cli.showing import format_option, show


@click.group()
def job() -> None:
    """Programs that run on the cluster, whoever has started them being gone or not."""


@contextmanager
def _client(address: str) -> Iterator[Any]:
    with joined(address):
        from ray_on_dask.job_submission import JobSubmissionClient

        try:
            yield JobSubmissionClient()
        except (RuntimeError, ValueError, TypeError) as error:
            raise click.ClickException(str(error)) from error


def _json_option(name: str, text: str) -> Callable[[Any], Any]:
    def parse(context: Any, parameter: Any, value: str | None) -> Any:
        if value is None:
            return None
        try:
            found = json.loads(value)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise click.BadParameter(f"{value!r} is no JSON object")
        return found

    return click.option(name, metavar="JSON", callback=parse, help=text)


@job.command(context_settings={"ignore_unknown_options": True})
@click.option("--submission-id", help="An id of one's own; by default one is made up.")
@click.option("--working-dir", metavar="PATH", help="Taken along; the command runs in it.")
@_json_option("--runtime-env-json", """As '{"env_vars": {"A": "1"}}'.""")
@_json_option("--metadata-json", "Kept with the job: {str: str}.")
@click.option("--entrypoint-num-cpus", type=float, help="Held while the command runs.")
@click.option("--entrypoint-num-gpus", type=float)
@click.option("--entrypoint-memory", type=int, help="Bytes.")
@_json_option("--entrypoint-resources", """As '{"disk": 1}'.""")
@click.option("--no-wait", is_flag=True, help="Do not wait for its end.")
@address_option
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def submit(
    submission_id: str | None, working_dir: str | None, runtime_env_json: dict[str, Any] | None,
    metadata_json: dict[str, str] | None, no_wait: bool, address: str, command: tuple[str, ...],
    **needs: Any,
) -> None:  # fmt: skip
    """Run a shell COMMAND on the cluster; show what it prints until it ends.

    The exit status is 0 if it has succeeded, else 1.

    \b
    ray-on-dask job submit -- python train.py --epochs 3
    ray-on-dask job submit --working-dir . --no-wait -- python train.py
    """
    environment = dict(runtime_env_json or {})
    if working_dir:
        environment["working_dir"] = working_dir
    text = command[0] if len(command) == 1 else shlex.join(command)
    with _client(address) as client:
        id = client.submit_job(
            entrypoint=text, submission_id=submission_id, runtime_env=environment or None,
            metadata=metadata_json, **needs,
        )  # fmt: skip
        click.echo(f"Job {id} submitted.")
        if no_wait:
            click.echo(f"Look after it: ray-on-dask job logs {id} --follow")
            return
        asyncio.run(_show(client, id))
        info = client.get_job_info(id)
    click.echo(f"Job {id} {info.status}: {info.message.splitlines()[0]}")
    if info.status != "SUCCEEDED":
        sys.exit(1)


async def _show(client: Any, id: str) -> None:
    async for text in client.tail_job_logs(id):
        click.echo(text, nl=False)


@job.command()
@click.argument("id")
@address_option
@format_option
def status(id: str, address: str, form: str) -> None:
    """Where a job is in its life.

    \b
    ray-on-dask job status raysubmit_x8Q…
    """
    with _client(address) as client:
        info = client.get_job_info(id)
    if form != "table":
        show(info.dict(), [], form)
    else:
        click.echo(f"{info.status}: {info.message}")


@job.command()
@click.argument("id")
@click.option("-f", "--follow", is_flag=True, help="Until it ends.")
@address_option
def logs(id: str, follow: bool, address: str) -> None:
    """What a job has printed.

    \b
    ray-on-dask job logs raysubmit_x8Q… --follow
    """
    with _client(address) as client:
        if follow:
            client.get_job_info(id)
            asyncio.run(_show(client, id))
        else:
            click.echo(client.get_job_logs(id), nl=False)


@job.command()
@click.argument("id")
@address_option
def stop(id: str, address: str) -> None:
    """End a job: ask it first, kill it some seconds later."""
    with _client(address) as client:
        running = client.stop_job(id)
    click.echo(f"Stopped the job {id}." if running else f"The job {id} had ended before.")


@job.command()
@click.argument("id")
@address_option
def delete(id: str, address: str) -> None:
    """Forget a job that has ended, and what it has printed."""
    with _client(address) as client:
        client.delete_job(id)
    click.echo(f"Deleted the job {id}.")


@job.command("list")
@address_option
@format_option
def list_(address: str, form: str) -> None:
    """All jobs that were submitted.

    \b
    ray-on-dask job list --format json
    """
    with _client(address) as client:
        rows = [info.dict() for info in client.list_jobs()]
    show(rows, ["submission_id", "status", "entrypoint", "start_time", "end_time",
                "driver_exit_code"], form)  # fmt: skip
