"""``worker_process_setup_hook`` of a runtime environment: called before a process's first task.

It is user code, so it runs in the main thread, where tasks do. The first function or class that
is loaded there sets it off; after it, nothing of it is left in the way. If it raises, every task
and actor of the process fails with `RuntimeEnvSetupError`.
"""

from __future__ import annotations

import base64
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ray_on_dask.runtime.executor import Executor


def install(executor: Executor, hook: Any) -> None:
    """Have the hook called before the first function is loaded."""
    functions: Any = executor.functions

    def load(id: bytes) -> Callable[..., Any]:
        try:
            _find(hook)()
        except Exception as error:
            from ray_on_dask.exceptions import RuntimeEnvSetupError

            raise RuntimeEnvSetupError(
                f"worker_process_setup_hook raised {type(error).__name__}: {error}"
            ) from error
        del functions.load
        found: Callable[..., Any] = functions.load(id)
        return found

    functions.load = load


def _find(hook: Any) -> Callable[[], Any]:
    """The hook: pickled by the driver, or ``module.function``."""
    if isinstance(hook, dict):
        from ray_on_dask.serialization import deserialize

        function: Callable[[], Any] = deserialize(base64.b64decode(hook["pickled"]))
        return function
    module, _, name = str(hook).rpartition(".")
    named: Callable[[], Any] = getattr(importlib.import_module(module), name)
    return named
