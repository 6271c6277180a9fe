"""Runtime environments as nodes are told of them: checked, with all that only the driver has."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from typing import Any


def spelled(environment: Mapping[str, Any]) -> str:
    """An environment in one spelling, "" for an empty one.

    Files of requirements are read, relative ones from where this process is; folders are packed,
    and handed to the cluster if there is a session; a function that is to be called in each process
    is pickled.

    Raises
    ------
    TypeError, ValueError
        For values that cannot be.
    RuntimeEnvSetupError
        For a folder that cannot be taken along.
    """
    if not environment:
        return ""
    from ray_on_dask.api.packages import taken_along

    told = taken_along(environment)
    for tool in ("pip", "uv"):
        if told.get(tool):
            told[tool] = packages_of(tool, told[tool])
    hook = told.get("worker_process_setup_hook")
    if callable(hook):
        from ray_on_dask.runtime.function_table import pickle_function

        pickled, refs = pickle_function(hook)
        if refs:
            raise ValueError("worker_process_setup_hook cannot refer to objects (ObjectRef)")
        told["worker_process_setup_hook"] = {"pickled": base64.b64encode(pickled).decode()}
    elif hook is not None and not isinstance(hook, str | dict):
        raise TypeError(
            "worker_process_setup_hook must be a function, or a str that names one, but is "
            f"{hook!r}"
        )
    return json.dumps(told, sort_keys=True, default=str)


def packages_of(tool: str, given: Any) -> dict[str, Any]:
    """``pip`` or ``uv`` of an environment: packages, options of the tool, whether to check."""
    if isinstance(given, str):
        given = {"packages": given}
    elif isinstance(given, list | tuple):
        given = {"packages": list(given)}
    if not isinstance(given, Mapping) or "packages" not in given:
        raise TypeError(
            f"runtime_env[{tool!r}] must be a list of packages, a file of requirements, or a dict "
            f"with 'packages', but is {given!r}"
        )
    options = f"{tool}_pip_install_options" if tool == "uv" else "pip_install_options"
    known = {"packages", f"{tool}_check", f"{tool}_version", options, "options", "check", "version"}
    unknown = sorted(set(given) - known)
    if unknown:
        raise ValueError(
            f"runtime_env[{tool!r}] has unknown fields {unknown}; known: {sorted(known)}"
        )
    packages = given["packages"]
    if isinstance(packages, str):
        packages = _requirements(tool, packages)
    if not isinstance(packages, list) or not all(isinstance(x, str) for x in packages):
        raise TypeError(f"runtime_env[{tool!r}]['packages'] must be a list of str: {packages!r}")
    return {
        "packages": [_absolute(package) for package in packages],
        "options": list(given.get("options") or given.get(options) or []),
        "check": bool(given.get("check", given.get(f"{tool}_check", False))),
        "version": given.get("version") or given.get(f"{tool}_version") or "",
    }


def _requirements(tool: str, path: str) -> list[str]:
    """The lines of a file of requirements."""
    try:
        with open(os.path.expanduser(path), encoding="utf-8") as file:
            lines = [line.strip() for line in file]
    except OSError as error:
        raise ValueError(
            f"runtime_env[{tool!r}]: the file of requirements {path!r} cannot be read: {error}"
        ) from None
    return [line for line in lines if line and not line.startswith("#")]


def _absolute(package: str) -> str:
    """A package that is a file or folder of this host, by its whole path."""
    if package.startswith((".", "/", "~")) or package.endswith((".whl", ".tar.gz", ".zip")):
        path = os.path.abspath(os.path.expanduser(package))
        if os.path.exists(path):
            return path
    return package
