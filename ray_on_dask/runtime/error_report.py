"""A task's failure as it goes to the error log and to the driver's terminal."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ray_on_dask.wire.messages import ErrorRecord, Task

if TYPE_CHECKING:
    from ray_on_dask.runtime.executor import Executor
    from ray_on_dask.runtime.process import Process

#: Kinds of failures, as `error_info` tells them.
TASK, CRASH = "task", "worker_died"
RED, PLAIN = "\x1b[31m", "\x1b[39m"


def record_of(executor: Executor, task: Task, error: Any) -> ErrorRecord:
    """What is kept of a failure that an executor has seen."""
    function = executor.functions.name(task.function)
    if task.method:
        function = f"{function}.{task.method}"
    message = f"Remote function {RED}{function}{PLAIN} failed with:\n\n{error.traceback_str}\n"
    data = {"function_id": task.function.hex(), "function_name": function, "task": task.id.hex()}
    return ErrorRecord(executor.job, TASK, message, repr(data), time.time())


def crash_of(process: Process, name: str, reason: str) -> ErrorRecord:
    """What is kept of a task whose executor died for the last time, by its owner."""
    message = f"The executor of task {RED}{name}{PLAIN} died: {reason}.\n"
    return ErrorRecord(process.job, CRASH, message, repr({"function_name": name}), time.time())
