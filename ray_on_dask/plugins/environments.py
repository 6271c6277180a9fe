"""What an executor's runtime environment needs before the executor starts, once for each node.

Packages of `pip` and `uv` are installed into a virtual environment, by a child process, so that
the node's loop does not wait for it. Leases that want the same one wait together. It lasts as long
as the node. One that could not be made is tried again for the next lease that asks.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from ray_on_dask.plugins.package_cache import PackageCache
from ray_on_dask.runtime.build_environment import site_of
from ray_on_dask.runtime.package_names import name_of

if TYPE_CHECKING:
    from ray_on_dask.plugins.node import NodeManager

#: Lines of what pip said that are shown when it fails.
LINES = 20
#: Seconds for an environment to be made, unless ``config`` says otherwise.
SECONDS = 600
#: What makes a fresh interpreter necessary.
FRESH = ("env_vars", "pip", "uv", "py_executable")
#: The variable by which an executor learns where packages of its own are.
SITE = "RAY_ON_DASK_SITE"
_REFUSED = ("conda", "container", "image_uri", "nsight", "rocprof_sys", "java_jars")


@dataclass(frozen=True)
class Interpreter:
    """A fresh interpreter for an executor."""

    command: tuple[str, ...] = (sys.executable,)
    env: dict[str, str] = field(default_factory=dict)


Ready = Callable[["Interpreter | None"], object]
Failed = Callable[[str], None]


def is_fresh(environment: dict[str, Any]) -> bool:
    """Whether executors with this environment cannot be forked."""
    return any(environment.get(name) for name in FRESH)


class Environments:
    """The virtual environments and unpacked folders of one node."""

    def __init__(self, node: NodeManager):
        self.node = node
        self.packages = PackageCache(node)
        self._ready: set[str] = set()
        #: {environment that is being made: who waits for it}.
        self._waiting: dict[str, list[tuple[Ready, Failed]]] = {}

    def prepare(self, environment: dict[str, Any], cwd: str, ready: Ready, failed: Failed) -> None:
        """Call `ready` with the interpreter to start, None to fork; or `failed` with the reason."""
        problem = problem_of(environment)
        if problem:
            failed(problem)
            return
        begin = partial(self._begin, environment, cwd, ready, failed)
        self.packages.bring(environment, begin, failed)

    def is_forkable(self, environment: dict[str, Any]) -> bool:
        """Whether an executor that stands by will do, and nothing is wrong or missing."""
        if is_fresh(environment) or problem_of(environment):
            return False
        return self.packages.has(environment)

    def _begin(self, environment: dict[str, Any], cwd: str, ready: Ready, failed: Failed) -> None:
        if not is_fresh(environment):
            ready(None)
            return
        env = dict(environment.get("env_vars") or {})
        command = tuple(shlex.split(environment.get("py_executable") or "")) or (sys.executable,)
        tool = next((name for name in ("pip", "uv") if environment.get(name)), "")
        if not tool:
            ready(Interpreter(command, env))
            return
        key = self._key(tool, environment[tool])
        folder = os.path.join(self.node.directories.session_dir, f"env-{key}")
        made = Interpreter((os.path.join(folder, "bin", "python"),), {**env, SITE: site_of(folder)})
        if key in self._ready:
            ready(made)
            return
        waiting = self._waiting.setdefault(key, [])
        waiting.append((lambda _: ready(made), failed))
        if len(waiting) == 1:
            seconds = (environment.get("config") or {}).get("setup_timeout_seconds", SECONDS)
            self._build(key, folder, tool, environment[tool], seconds, cwd)

    @staticmethod
    def _key(tool: str, packages: dict[str, Any]) -> str:
        """The same for the same packages; files that are named are part of it, as they are now."""
        parts = [tool, json.dumps(packages, sort_keys=True), sys.version]
        for path in packages["packages"]:
            if os.path.isabs(path) and os.path.exists(path):
                found = os.stat(path)
                parts.append(f"{found.st_mtime_ns} {found.st_size}")
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

    def _build(
        self, key: str, folder: str, tool: str, packages: dict[str, Any], seconds: float, cwd: str
    ) -> None:
        spec = {
            **packages, "folder": folder, "tool": tool, "seconds": seconds,
            "paths": [path for path in sys.path if os.path.isdir(path)],
        }  # fmt: skip
        log = f"{folder}.log"
        start = (
            "import sys, json; sys.path[:] = json.loads(sys.argv.pop(1)); "
            "from ray_on_dask.runtime.build_environment import main; sys.exit(main(sys.argv[1]))"
        )
        command = [sys.executable, "-c", start, json.dumps(sys.path), json.dumps(spec)]

        def ended(status: int) -> None:
            waiting = self._waiting.pop(key, [])
            if status == 0:
                self._ready.add(key)
            text = "" if status == 0 else _last_lines(log)
            for ready, failed in waiting:
                if status == 0:
                    ready(None)
                else:
                    failed(f"{tool} could not install {packages['packages']}:\n{text}")

        here = cwd if os.path.isdir(cwd) else ""
        self.node.spawn(f"env-{key}", command, ended, cwd=here, output=log)


def _last_lines(path: str) -> str:
    """The end of a log; a rare thing, and short."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return "".join(file.readlines()[-LINES:]).rstrip()
    except OSError as error:
        return str(error)


def problem_of(environment: dict[str, Any]) -> str:
    """Why a runtime environment cannot be had, "" if it can."""
    for key in _REFUSED:
        if environment.get(key):
            return (
                f"runtime_env {key!r} is not supported: use 'pip' or 'uv', or install it where the "
                "Dask workers run"
            )
    try:
        shlex.split(environment.get("py_executable") or "")
    except ValueError as error:
        return f"runtime_env py_executable={environment['py_executable']!r}: {error}"
    if environment.get("py_executable") and (environment.get("pip") or environment.get("uv")):
        return "runtime_env has 'py_executable' and packages to install: give one of them"
    folders = [environment.get("working_dir"), *environment.get("py_modules", ())]
    for folder in folders:
        if not folder or name_of(folder):
            continue
        if "://" in folder:
            return f"runtime_env names {folder!r}: give a folder or a zip file of the driver's host"
        if not os.path.exists(folder):
            return f"runtime_env names {folder!r}: neither the driver's host nor this node has it"
    return ""
