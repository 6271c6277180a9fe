"""How many bytes the object stores of a cluster hold, in use, as the nodes themselves count."""

import glob
import sys

from distributed import Client


def used() -> int:
    from ray_on_dask.objectstore.usage import usage

    return sum(sum(usage(path).values()) for path in glob.glob("/dev/shm/ray_on_dask-*/*-shm"))


with Client(sys.argv[1], set_as_default=False) as client:
    print(sum(client.run(used).values()))
