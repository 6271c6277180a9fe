"""What an executor takes over: the job's paths and variables, a lease's GPUs and threads."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from ray_on_dask.core.resources import CPU, GPU, UNITS, plain_names
from ray_on_dask.runtime import package_names
from ray_on_dask.wire.messages import Adopt, BeginLease

if TYPE_CHECKING:
    from ray_on_dask.runtime.executor import Executor

_threads = 1
_gpus: list[int | str] = []


def adopt(executor: Executor, message: Adopt) -> None:
    """Take over the driver's module path, working directory and runtime environment."""
    config = message.config
    paths = config.sys_path + [path for path in sys.path if path not in config.sys_path]
    sys.path[:] = own_first(paths, os.environ.get("RAY_ON_DASK_SITE", ""))
    if config.cwd:
        with contextlib.suppress(OSError):  # not on this host, or not any more
            os.chdir(config.cwd)
    environment = json.loads(message.runtime_env) if message.runtime_env else {}
    for name, value in environment.get("env_vars", {}).items():
        os.environ[name] = value
    if config.record_graph:
        from ray_on_dask.graph.recorder import record

        executor.recorder = record(executor)
    if config.record_sites:
        from ray_on_dask.runtime import call_sites

        call_sites.note(executor)
    if config.alias:
        from ray_on_dask.drop_in import install_as_ray

        install_as_ray()
    if environment.get("worker_process_setup_hook"):
        from ray_on_dask.runtime import setup_hook

        setup_hook.install(executor, environment["worker_process_setup_hook"])
    if config.logging:
        from ray_on_dask.api import logging_setup
        from ray_on_dask.logging_config import LoggingConfig

        logging_setup.apply(LoggingConfig(**json.loads(config.logging)))
    enter_folders(environment, os.path.dirname(executor.hub_path))


def enter_folders(environment: dict[str, Any], session_dir: str) -> None:
    """Import from a runtime environment's folders, and begin in its ``working_dir``.

    Programs that are started from here import from them too.
    """
    paths: list[str] = []
    for path in environment.get("py_modules", ()):
        name = package_names.name_of(path)
        folder = package_names.folder_of(session_dir, name) if name else os.path.dirname(path)
        paths.insert(0, os.path.abspath(folder))
    if environment.get("working_dir"):
        name = package_names.name_of(environment["working_dir"])
        folder = package_names.folder_of(session_dir, name) if name else environment["working_dir"]
        os.chdir(folder)
        paths.insert(0, folder)
    if paths:
        sys.path[:0] = paths
        found = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join([*paths, found] if found else paths)


def own_first(paths: list[str], site: str) -> list[str]:
    """A module path on which one folder of packages comes before all others, after all else."""
    if not site:
        return paths
    others = [path for path in paths if path != site]
    ends = ("site-packages", "dist-packages")
    at = next((i for i, path in enumerate(others) if path.endswith(ends)), len(others))
    return [*others[:at], site, *others[at:]]


def begin_lease(message: BeginLease) -> None:
    """Show the lease's GPUs, and use as many threads as it has CPUs."""
    global _gpus
    _gpus = list(message.gpus)
    resources = plain_names(message.spec.resources)
    if resources.get(GPU) or message.gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, message.gpus))
    use_threads(max(1, resources.get(CPU, 0) // UNITS))


def gpu_ids() -> list[int | str]:
    """Ids of the GPUs that the running task or actor has."""
    return _gpus


def use_threads(count: int) -> None:
    """Give BLAS and OpenMP pools this many threads, those that are loaded and those to come."""
    global _threads
    if count == _threads:
        return
    _threads = count
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(count)
    from threadpoolctl import threadpool_limits

    threadpool_limits(limits=count)
