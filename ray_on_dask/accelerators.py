"""Types of accelerators, by the name that the documents of Ray 1.1 import: `util.accelerators`."""

from ray_on_dask.util.accelerators import *  # noqa: F403
