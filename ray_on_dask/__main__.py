"""``python -m ray_on_dask program.py`` runs it with ``import ray`` meaning this package."""

import sys

from ray_on_dask.drop_in import run_program

if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
    sys.exit("Usage: python -m ray_on_dask [-m MODULE | PROGRAM.py] [ARGUMENTS]")
if sys.argv[1] == "-m":
    if len(sys.argv) < 3:
        sys.exit("python -m ray_on_dask -m: the name of a module is expected")
    run_program(sys.argv[2], sys.argv[3:], module=True)
else:
    run_program(sys.argv[1], sys.argv[2:])
