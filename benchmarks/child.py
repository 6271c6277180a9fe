"""A process of its own for each batch of workloads, watched from outside.

The process runs `benchmarks.run_one` under the module's own interpreter. One that hangs or dies
is ended with all it started, the workload it was at is reported as failed, and a new process
goes on with the rest.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from benchmarks import processes
from benchmarks.registry import Workload
from benchmarks.sessions import ENVIRONMENT

#: Seconds for a cluster to come up before the first workload, and to end after the last.
START_LIMIT = 120.0
#: Seconds a workload may take beyond its own timeout, which its process watches itself.
GRACE = 30.0
#: What stands for the workload where all of them were done.
END = "(end of the process)"
ROOT = Path(__file__).resolve().parent.parent
COMPILE = """
import compileall, importlib.util, sys
for place in importlib.util.find_spec(sys.argv[1]).submodule_search_locations:
    compileall.compile_dir(place, quiet=2)
"""

Event = dict[str, Any]
Seen = Callable[[Event], None]


@dataclass(frozen=True)
class Module:
    """A module to measure and the interpreter that has it."""

    name: str
    python: str

    def compile(self) -> None:
        """Have its bytecode written, as `pip install` does, and an editable install does not.

        Where ``PYTHONDONTWRITEBYTECODE`` is set, each process would compile it for itself.
        """
        subprocess.run([self.python, "-c", COMPILE, self.name], cwd=ROOT, check=True)


@dataclass
class _Batch:
    """What is left to do for one process, and where it stands."""

    workloads: list[Workload]
    current: Workload | None = None
    ended: bool = False

    def limit(self) -> float:
        """Give the seconds within which the next line has to come."""
        return START_LIMIT if self.current is None else self.current.timeout + GRACE

    def take(self, event: Event) -> None:
        """Note what a line says about the progress of the batch."""
        kind = event["event"]
        if kind == "start":
            self.current = next(w for w in self.workloads if w.name == event["workload"])
            self.workloads = [w for w in self.workloads if w is not self.current]
        elif kind == "error" or (kind == "result" and self._is_last(event)):
            self.current = None
        self.ended = self.ended or kind == "end"

    def blame(self, progressed: bool) -> list[str]:
        """Give what a process that went wrong has failed at, and leave that out from now on.

        That is the workload it was at; all of them, if it did not get to the first; nothing, if
        it got through some and can go on with the rest; else its end.
        """
        if self.current is not None:
            failed = [self.current.name]
        elif not self.workloads:
            failed = [END]
        elif progressed:
            failed = []
        else:
            failed, self.workloads = [w.name for w in self.workloads], []
        self.current, self.ended = None, False
        return failed

    def _is_last(self, event: Event) -> bool:
        return self.current is not None and event["row"] == self.current.rows[-1].name


def run_batch(module: Module, workloads: Iterable[Workload], seconds: float, seen: Seen) -> None:
    """Run `workloads` on `module`; call `seen` with each event, in order.

    Every workload ends in ``result`` events or in one ``error`` event. A process that fails before
    its first workload is an error for all of them.
    """
    batch = _Batch(list(workloads))
    while batch.workloads:
        left = len(batch.workloads)
        reason = _run_process(module, batch, seconds, seen)
        if reason is None:
            return
        for name in batch.blame(progressed=len(batch.workloads) < left):
            seen({"event": "error", "workload": name, "error": reason})


def _run_process(module: Module, batch: _Batch, seconds: float, seen: Seen) -> str | None:
    """Run one process until it ends or has to be ended; give what went wrong, if anything did."""
    mark = processes.new_mark()
    with tempfile.TemporaryFile("w+b") as stderr:
        child = subprocess.Popen(
            _command(module, batch.workloads, seconds),
            cwd=ROOT,
            env=_environment(mark),
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            start_new_session=True,
        )
        assert child.stdout is not None
        late = _follow(child.stdout, batch, seen) or not _ends(child)
        processes.end(child.pid, mark, grace=0.0 if late else 5.0)
        child.kill()
        status = child.wait()
        if late:
            return "TimeoutError: the process gave no sign of life and was killed"
        if batch.ended and status == 0:
            return None
        return f"the process ended with status {status}: {_tail(stderr)}"


def _follow(stdout: IO[str], batch: _Batch, seen: Seen) -> bool:
    """Take in lines until they end; give whether one was overdue."""
    lines: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_read, args=(stdout, lines), daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=batch.limit())
        except queue.Empty:
            return True
        if line is None:
            return False
        event = json.loads(line)
        batch.take(event)
        seen(event)
        if batch.ended:
            return False


def _read(stdout: IO[str], lines: queue.Queue[str | None]) -> None:
    for line in stdout:
        lines.put(line)
    lines.put(None)


def _ends(child: subprocess.Popen[str]) -> bool:
    try:
        child.wait(timeout=GRACE)
    except subprocess.TimeoutExpired:
        return False
    return True


def _command(module: Module, workloads: Sequence[Workload], seconds: float) -> list[str]:
    names = [workload.name for workload in workloads]
    return [
        module.python,
        "-m",
        "benchmarks.run_one",
        "--module",
        module.name,
        "--seconds",
        str(seconds),
        "--workload",
        *names,
    ]


def _environment(mark: str) -> dict[str, str]:
    return {**os.environ, **ENVIRONMENT, processes.MARK: mark, "PYTHONUNBUFFERED": "1"}


def _tail(stderr: IO[bytes]) -> str:
    stderr.seek(0)
    return stderr.read()[-1500:].decode(errors="replace").strip()
