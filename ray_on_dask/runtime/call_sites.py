"""The line of the user's program in which each ref was made, where a job asks for it.

It is put around what makes refs, and only then: where nobody asks, nothing is added to a call.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ray_on_dask.runtime.object_ref import ObjectRef

if TYPE_CHECKING:
    from ray_on_dask.runtime.process import Process

#: Switches it on, in the environment of the driver.
VARIABLE = "RAY_record_ref_creation_sites"
_PACKAGE = __name__.partition(".")[0]


def wanted() -> bool:
    """Whether the driver's environment asks for call sites."""
    return os.environ.get(VARIABLE, "0").lower() in ("1", "true")


def note(process: Process) -> None:
    """From now on, note where refs are made."""
    put, submit, call = process.storing.put, process.submitting.submit, process.calling.call

    def noted_put(value: Any) -> Any:
        return _noted(put(value), "put")

    def noted_submit(call: Any, args: Any, kwargs: Any) -> Any:
        return _noted(submit(call, args, kwargs), call.name)

    def noted_call(actor: bytes, task: Any, *rest: Any) -> Any:
        return _noted(call(actor, task, *rest), task.name)

    for holder, name, noted in (
        (process.storing, "put", noted_put), (process.submitting, "submit", noted_submit),
        (process.calling, "call", noted_call),
    ):  # fmt: skip
        setattr(holder, name, noted)


def _noted(made: Any, what: str) -> Any:
    refs: Iterable[Any] = made if isinstance(made, list) else [made]
    site = ""
    for ref in refs:
        if isinstance(ref, ObjectRef):
            site = site or f"{_here()} ({what})"
            ref._entry.share().site = site
    return made


def _here() -> str:
    """File and line of the innermost frame outside of this package."""
    frame: Any = sys._getframe(1)
    while frame.f_back is not None:
        name = frame.f_globals.get("__name__", "")
        if name != _PACKAGE and not name.startswith(f"{_PACKAGE}."):
            break
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
