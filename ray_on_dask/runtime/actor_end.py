"""Ends of an actor: before it is made, and in an orderly way, in the order in which Ray does it."""

from __future__ import annotations

import atexit
import logging
import os
import traceback
from typing import TYPE_CHECKING

from ray_on_dask.wire import messages as m

if TYPE_CHECKING:
    from ray_on_dask.runtime.actor_host import ActorHost

logger = logging.getLogger("ray_on_dask")


def stillborn(host: ActorHost, error: BaseException) -> bytes:
    """What `__init__` has raised, as the control store is told it; it is reported, too."""
    from ray_on_dask.error_serialization import dumps_error
    from ray_on_dask.exceptions import from_exception

    executor, spec = host.executor, host.spec
    made = from_exception(
        f"{spec.class_name}.__init__", error, pid=os.getpid(), ip=executor.ip,
        proctitle=f"ray::{spec.class_name}.__init__",
    )  # fmt: skip
    executor.report_error(m.Task(host.id, spec.function, spec.args, method="__init__"), made)
    return dumps_error(made)


def forget_frames(error: BaseException) -> None:
    """Let go of what the calls hold that this error has come out of: the instance, above all."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__context__  # type: ignore[assignment]


def take_leave(host: ActorHost) -> None:
    """Call `__ray_shutdown__`, let the instance go, and do what is registered at exit."""
    hook = getattr(host.instance, "__ray_shutdown__", None)
    if callable(hook):
        try:
            hook()
        except BaseException:
            logger.exception("__ray_shutdown__ of %s has failed", host.spec.class_name)
    del hook
    host.instance = None
    atexit._run_exitfuncs()
