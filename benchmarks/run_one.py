"""Run some workloads on one module, in this process, and print one JSON line per result.

    python -m benchmarks.run_one --module ray --workload tasks_sync tasks_batch --seconds 2

Lines have an ``event``: ``session`` (versions), ``start`` (a workload begins), ``result`` (a
figure), ``error`` (a workload failed or took too long; the rest goes on), ``end``.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import importlib.metadata
import json
import os
import platform
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, TextIO

from benchmarks import registry, sessions
from benchmarks.meter import Meter
from benchmarks.registry import Figures, Workload

Emit = Callable[..., None]


class WorkloadTimeout(Exception):
    """A workload took longer than its timeout."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the workloads named on the command line."""
    options = _parse(arguments)
    emit = _emitter(_claim_stdout())
    os.environ.update({k: v for k, v in sessions.ENVIRONMENT.items() if k not in os.environ})
    module = importlib.import_module("distributed" if options.module == "dask" else options.module)
    emit(
        "session",
        module=options.module,
        version=_version(options.module),
        python=platform.python_version(),
    )
    chosen = [registry.load()[name] for name in options.workload]
    run_all(options.module, module, chosen, Meter(options.seconds), emit)
    emit("end")


def run_all(
    name: str, module: Any, workloads: Sequence[Workload], meter: Meter, emit: Emit
) -> None:
    """Run `workloads` in turn; those that share a cluster get a new one after each failure."""
    own = [w for w in workloads if w.own_process]
    for each in own:
        _run(name, each, module, meter, emit)
    rest = [w for w in workloads if not w.own_process]
    while rest:
        with _cluster(name, module) as api:
            while rest and _run(name, rest.pop(0), api, meter, emit):
                gc.collect()


def _run(name: str, workload: Workload, api: Any, meter: Meter, emit: Emit) -> bool:
    """Run one workload and report it; give whether its cluster can be used further."""
    run = registry.ON_DASK.get(workload.name) if name == "dask" else workload.run
    if run is None:
        return True
    emit("start", workload=workload.name)
    try:
        with _alarm(workload.timeout):
            figures = run(api, meter)
    except Exception as error:
        emit("error", workload=workload.name, error=_shown(error))
        return False
    _report(workload, figures, emit)
    return True


def _report(workload: Workload, figures: Figures, emit: Emit) -> None:
    values = figures if isinstance(figures, tuple) else (figures,)
    # Plain Dask cannot give all rows of every workload: it leaves out the last ones.
    for row, value in zip(workload.rows, values, strict=False):
        emit("result", workload=workload.name, row=row.name, value=value, unit=row.unit)


def _cluster(name: str, module: Any) -> AbstractContextManager[Any]:
    return sessions.dask_cluster(module) if name == "dask" else sessions.ray_cluster(module)


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raise `WorkloadTimeout` in the main thread if the block is not done after `seconds`."""
    rung: list[int] = []

    def ring(number: int, _frame: object) -> None:
        rung.append(number)
        # Ray's `get` lets this one exception through, and swallows what else a handler raises.
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    except KeyboardInterrupt:
        if not rung:
            raise
        raise WorkloadTimeout(f"not done after {seconds:g} s") from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def _claim_stdout() -> TextIO:
    """Keep standard output for results: what anything else prints goes to standard error."""
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return out


def _emitter(out: TextIO) -> Emit:
    def emit(event: str, **fields: object) -> None:
        print(json.dumps({"event": event, **fields}), file=out, flush=True)

    return emit


def _shown(error: BaseException) -> str:
    return "".join(traceback.format_exception_only(error)).strip()[-2000:]


def _version(module: str) -> str:
    distribution = {"dask": "distributed"}.get(module, module)
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return str(getattr(sys.modules[distribution], "__version__", "unknown"))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.run_one", description=__doc__)
    parser.add_argument("--module", required=True, choices=["ray", "ray_on_dask", "dask"])
    parser.add_argument(
        "--workload", required=True, nargs="+", choices=sorted(registry.load()), metavar="NAME"
    )
    parser.add_argument("--seconds", type=float, default=2.0)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
