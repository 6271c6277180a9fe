"""The command line: ``ray-on-dask …``, and ``dask ray …`` which is the same.

Commands that look at a cluster join it as a driver for that moment.
"""

from __future__ import annotations

import importlib

import click

from ray_on_dask import __version__

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

#: {command: module that has it}: a module is imported when its command is used, or its help.
COMMANDS = {
    "start": "cluster", "stop": "cluster", "status": "cluster",
    "nodes": "tables", "actors": "tables", "tasks": "tables", "objects": "tables",
    "errors": "tables", "placement-groups": "tables",
    "memory": "memory", "list": "resources", "get": "resources", "summary": "resources",
    "logs": "watching", "timeline": "watching", "kill-actor": "watching",
    "job": "jobs", "microbenchmark": "microbenchmark", "run": "running",
}  # fmt: skip


class _Group(click.Group):
    """Imports the module of a command when it is asked for."""

    def list_commands(self, context: click.Context | None) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context | None, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module = importlib.import_module(f"{__name__}.{COMMANDS[name]}")
        command: click.Command = getattr(module, name.replace("-", "_").replace("list", "list_"))
        return command


@click.group(cls=_Group, context_settings=CONTEXT)
@click.version_option(__version__, prog_name="ray-on-dask")
def main() -> None:
    """Ray programs on a Dask cluster: start one, stop it, look at it.

    \b
    ray-on-dask start --head            a cluster on this machine, for several drivers
    ray-on-dask status                  what it has, what is free, and who waits
    ray-on-dask nodes --format json     its nodes
    ray-on-dask job submit -- python train.py
    ray-on-dask stop                    end it

    A driver joins it by init("auto"), or from other machines by init("tcp://host:port").
    Each command has a help text of its own: ray-on-dask start --help.
    """


#: The same group, as a command of `dask`.
ray = main
