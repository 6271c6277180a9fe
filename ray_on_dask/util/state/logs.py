"""What tasks and actors have printed: the latest lines of each executor, kept by the control store.

Names of files are made as Ray makes them, one for stdout and one for stderr of each process.
"""

from __future__ import annotations

import fnmatch
import re
import time
from collections.abc import Iterator
from typing import Any

from ray_on_dask.util.state.listing import RayStateApiException, ask
from ray_on_dask.util.state.sources import job_id

#: Seconds between two looks for new lines.
EVERY = 0.3
_NAME = re.compile(r"worker-([0-9a-f]+)-([0-9a-f]+)-(\d+)\.(out|err)")
_COLORS = re.compile(r"\x1b\[[0-9;]*m")


def list_logs(
    address: str | None = None,
    node_id: str | None = None,
    node_ip: str | None = None,
    glob_filter: str | None = None,
    timeout: float = 30,
) -> dict[str, list[str]]:
    """Names of the logs that there are, by group: ``worker_out`` and ``worker_err``.

    Parameters
    ----------
    node_id, node_ip : str, optional
        Of one node alone; by default of all.
    glob_filter : str, optional
        Such as ``"*1234*"``.
    """
    nodes = _nodes(node_id, node_ip, timeout)
    groups: dict[str, list[str]] = {}
    for log in ask("logs", timeout):
        for kind in ("out", "err"):
            name = _name(log, kind)
            if log["node"] in nodes and log[kind] and fnmatch.fnmatch(name, glob_filter or "*"):
                groups.setdefault(f"worker_{kind}", []).append(name)
    return groups


def get_log(
    address: str | None = None,
    node_id: str | None = None,
    node_ip: str | None = None,
    filename: str | None = None,
    actor_id: str | None = None,
    task_id: str | None = None,
    pid: int | None = None,
    follow: bool = False,
    tail: int = -1,
    timeout: float = 30,
    suffix: str = "out",
    encoding: str | None = "utf-8",
    errors: str | None = "strict",
    submission_id: str | None = None,
    attempt_number: int = 0,
    _interval: float | None = None,
    filter_ansi_code: bool = False,
) -> Iterator[str]:
    """Lines that a process has printed, by a name of `list_logs`, an actor, a task, or a pid.

    Parameters
    ----------
    follow : bool
        Go on with what is printed from now on, until the caller stops asking.
    tail : int
        The last so many lines; -1 for all that are kept.
    suffix : str
        ``"out"`` for stdout, ``"err"`` for stderr.
    task_id : str
        Of a task that has ended, or runs: what its process printed under the task's name.
    submission_id : str
        Of a job that was submitted: its output.

    Raises
    ------
    RayStateApiException
        If nothing tells which log is meant, or it is not known.
    """
    if submission_id is not None:
        return iter(_of_submission(submission_id, tail))
    if suffix not in ("out", "err"):
        raise RayStateApiException(f'suffix is "out" or "err", but {suffix!r} was given')
    if filename is not None:
        node, pid, suffix = _of_file(filename, timeout)
        name = ""
    else:
        node, pid, name = _process(node_id, node_ip, actor_id, task_id, pid, timeout)
    lines = _lines(node, pid, name, suffix, follow, tail, timeout, _interval or EVERY)
    return (_COLORS.sub("", line) for line in lines) if filter_ansi_code else lines


def _lines(
    node: str, pid: int, name: str, suffix: str, follow: bool, tail: int, timeout: float,
    interval: float,
) -> Iterator[str]:  # fmt: skip
    found = ask("log", timeout, node=node, pid=pid)
    chosen = _chosen(found["lines"], name, suffix)
    yield from chosen[-tail:] if tail > 0 else chosen if tail else []
    while follow:
        time.sleep(interval)
        found = ask("log", timeout, node=node, pid=pid, after=found["next"])
        yield from _chosen(found["lines"], name, suffix)


def _chosen(lines: list[Any], name: str, suffix: str) -> list[str]:
    return [f"{line}\n" for whose, line, error in lines
            if error is (suffix == "err") and (not name or whose == name)]  # fmt: skip


def _nodes(node_id: str | None, node_ip: str | None, timeout: float) -> set[str]:
    found = {
        node["name"]
        for node in ask("nodes", timeout)
        if node_id in (None, node["name"]) and node_ip in (None, node["ip"])
    }
    if not found:
        raise RayStateApiException(f"there is no node {node_id or node_ip}")
    return found


def _name(log: dict[str, Any], kind: str) -> str:
    return f"worker-{log['node'][:16]}-{job_id(log['job'])}-{log['pid']}.{kind}"


def _of_file(filename: str, timeout: float) -> tuple[str, int, str]:
    match = _NAME.fullmatch(filename)
    for log in ask("logs", timeout) if match else ():
        if filename in (_name(log, "out"), _name(log, "err")):
            return log["node"], log["pid"], filename[-3:]
    raise RayStateApiException(f"there is no log {filename!r}: list_logs() tells which there are")


def _process(
    node_id: str | None, node_ip: str | None, actor_id: str | None, task_id: str | None,
    pid: int | None, timeout: float,
) -> tuple[str, int, str]:  # fmt: skip
    """Node, pid, and the name under which it printed, "" for any."""
    if actor_id is not None:
        for actor in ask("actors", timeout):
            if actor["actor_id"] == actor_id and actor["pid"]:
                return actor["node"], actor["pid"], ""
        for gone in ask("departed", timeout):
            if gone["actor"] == actor_id:
                return gone["node"], gone["pid"], ""
        raise RayStateApiException(f"no process is known of the actor {actor_id}")
    if task_id is not None:
        from ray_on_dask.util.state import task_sources

        task = task_sources.get(task_id, timeout)
        if task is None or not task.worker_pid or not task.node_id:
            raise RayStateApiException(f"no process is known that has run the task {task_id}")
        return task.node_id, task.worker_pid, "" if task.actor_id else task.name.partition(".")[0]
    if pid is not None:
        nodes = _nodes(node_id, node_ip, timeout)
        for log in ask("logs", timeout):
            if log["pid"] == pid and log["node"] in nodes:
                return log["node"], pid, ""
        raise RayStateApiException(f"nothing is known that process {pid} has printed")
    raise RayStateApiException("give one of filename, actor_id, task_id, pid, submission_id")


def _of_submission(submission_id: str, tail: int) -> list[str]:
    from ray_on_dask.job_submission import JobSubmissionClient

    lines = JobSubmissionClient().get_job_logs(submission_id).splitlines(keepends=True)
    return lines[-tail:] if tail > 0 else lines
