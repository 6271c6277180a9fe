"""`timeline`: what ran when, for a trace viewer."""

from __future__ import annotations

import json
from typing import Any

from ray_on_dask.api.cluster_state import _ask


def timeline(filename: str | None = None) -> list[dict[str, Any]] | None:
    """Runs of tasks as Chrome trace events (``chrome://tracing``, Perfetto).

    Parameters
    ----------
    filename : str, optional
        Write them there as JSON, and return None.

    Returns
    -------
    list of dict
        ``cat``, ``name``, ``pid`` (the node), ``tid`` (the process), ``ts`` and ``dur`` in
        microseconds, ``ph``, ``args``. Of very many short tasks a sample. Events of the category
        ``blocked`` lie within tasks that waited in `get` or `wait`.
    """
    runs, blocked = _ask("runs"), _ask("blocked")
    events = [
        {
            "cat": "task", "name": name, "pid": node[:8], "tid": f"worker:{pid}",
            "ts": start * 1e6, "dur": (stop - start) * 1e6, "ph": "X",
            "cname": "generic_work" if ok else "terrible", "args": {"task_id": task, "job": job},
        }
        for job, node, pid, name, task, start, stop, ok, *_ in runs
    ]  # fmt: skip
    events += [
        {
            "cat": "blocked", "name": "blocked: CPU lent", "pid": node[:8], "tid": f"worker:{pid}",
            "ts": start * 1e6, "dur": (stop - start) * 1e6, "ph": "X", "cname": "grey",
            "args": {"job": job},
        }
        for job, node, pid, start, stop in blocked
    ]  # fmt: skip
    if filename is None:
        return events
    with open(filename, "w", encoding="utf-8") as file:
        json.dump(events, file)
    return None
