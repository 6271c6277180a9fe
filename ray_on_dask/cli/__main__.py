"""``python -m ray_on_dask.cli``."""

from ray_on_dask.cli import main

main(prog_name="ray-on-dask")
