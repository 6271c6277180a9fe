"""The module under test, real Ray or its replacement, as the environment says.

``CONFORMANCE_MODULE=ray`` runs the suite against Ray itself.
"""

from __future__ import annotations

import importlib
import os
import time
from collections.abc import Callable
from typing import Any

MODULE = os.environ.get("CONFORMANCE_MODULE", "ray_on_dask")


def import_submodule(name: str) -> Any:
    """The part `name` of the module under test, as in ``import_submodule("util.queue")``."""
    return importlib.import_module(f"{MODULE}.{name}")


def eventually(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Return once `condition()` is true; fail the test when it is not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not true after {seconds} s"
        time.sleep(0.02)


#: The module itself. Functions that a test sends away refer to it by name, so it is found there.
ray: Any = importlib.import_module(MODULE)
exceptions: Any = import_submodule("exceptions")
