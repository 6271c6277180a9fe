"""``run``: a program that says ``import ray``, as it is."""

from __future__ import annotations

import click


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option(
    "-m", "--module", is_flag=True, help="PROGRAM is a module's name, as for `python -m`."
)
@click.option("--address", metavar="ADDRESS", help="The cluster that it joins by init().")
@click.argument("program")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run(module: bool, address: str | None, program: str, arguments: tuple[str, ...]) -> None:
    """Run a Python PROGRAM in which `import ray` means this package.

    \b
    ray-on-dask run train.py --epochs 3
    ray-on-dask run -m package.train
    python -m ray_on_dask train.py        the same
    """
    from ray_on_dask.drop_in import run_program

    run_program(program, list(arguments), module=module, address=address)
