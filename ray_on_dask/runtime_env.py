"""What tasks find around them: variables, paths, packages. The value of ``runtime_env`` options.

A `RuntimeEnv` is a dict, and a plain dict does as well; this class checks what it is given at once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

_PACKAGES = ("pip", "uv", "conda")
#: These cannot be joined by any field but ``config`` and ``env_vars``.
_IMAGES = ("container", "image_uri")


class RuntimeEnvConfig(dict[str, Any]):
    """How an environment is set up.

    Parameters
    ----------
    setup_timeout_seconds : int
        Seconds in which it must be there; -1 for no limit.
    eager_install : bool
        Whether it is made before the first task asks for it.
    log_files : list of str, optional
        Files whose lines are shown when the setup fails.

    Raises
    ------
    TypeError
        For values of other types.
    ValueError
        If the time is neither positive nor -1.
    """

    known_fields = frozenset({"setup_timeout_seconds", "eager_install", "log_files"})

    def __init__(
        self, setup_timeout_seconds: int = 600, eager_install: bool = True,
        log_files: list[str] | None = None,
    ):  # fmt: skip
        super().__init__()
        if not isinstance(setup_timeout_seconds, int):
            raise TypeError(
                f"setup_timeout_seconds must be an int, but is {type(setup_timeout_seconds)}"
            )
        if setup_timeout_seconds <= 0 and setup_timeout_seconds != -1:
            raise ValueError(
                "setup_timeout_seconds must be more than zero, or -1, but is "
                f"{setup_timeout_seconds}"
            )
        if not isinstance(eager_install, bool):
            raise TypeError(f"eager_install must be a bool, but is {type(eager_install)}")
        self["setup_timeout_seconds"] = setup_timeout_seconds
        self["eager_install"] = eager_install
        self["log_files"] = _strings("log_files", log_files or [])

    def to_dict(self) -> dict[str, Any]:
        """The same as a plain dict."""
        return dict(self)


class RuntimeEnv(dict[str, Any]):
    """An environment for tasks and actors, or for all of a job.

    Parameters
    ----------
    py_modules : list of str, optional
        Folders of packages, ``.py`` files or wheels, which are taken along to be imported.
    working_dir : str, optional
        A folder or a zip file, which is taken along; tasks begin in a copy of it.
    env_vars : dict of str to str, optional
        Variables of the process's environment.
    config : dict or RuntimeEnvConfig, optional
        How it is set up: ``setup_timeout_seconds`` counts, the rest has no effect.
    pip, uv : list of str, str or dict, optional
        Packages that are installed for the environment, once on each node: a list, a file of
        requirements, or a dict with ``packages`` and ``pip_install_options``, ``pip_check``,
        ``pip_version`` (``uv_pip_install_options``, ``uv_check``).
    py_executable : str, optional
        The interpreter, with options: of the same release of Python, and this package in it.
    worker_process_setup_hook : callable or str, optional
        Called once in each process, before its first task.
    conda, container, image_uri, …
        Accepted, and refused by the node that is asked to start something in it.
    **kwargs
        Further fields are kept as they are.

    Raises
    ------
    TypeError, ValueError
        For values that cannot be, and for fields that exclude each other.

    Examples
    --------
    >>> from ray_on_dask.runtime_env import RuntimeEnv
    >>> RuntimeEnv(env_vars={"LEVEL": "3"})
    {'env_vars': {'LEVEL': '3'}}
    """

    known_fields = frozenset({
        "py_modules", "py_executable", "java_jars", "working_dir", "conda", "pip", "uv",
        "container", "excludes", "env_vars", "_ray_release", "_ray_commit",
        "_inject_current_ray", "config", "worker_process_setup_hook", "nsight", "rocprof_sys",
        "image_uri",
    })  # fmt: skip

    def __init__(
        self,
        *,
        py_modules: list[str] | None = None,
        py_executable: str | None = None,
        working_dir: str | None = None,
        pip: Any = None,
        conda: Any = None,
        container: dict[str, Any] | None = None,
        env_vars: dict[str, str] | None = None,
        worker_process_setup_hook: Any = None,
        nsight: Any = None,
        rocprof_sys: Any = None,
        config: dict[str, Any] | RuntimeEnvConfig | None = None,
        _validate: bool = True,
        image_uri: str | None = None,
        uv: Any = None,
        **kwargs: Any,
    ):
        given = {
            "py_modules": py_modules, "py_executable": py_executable, "working_dir": working_dir,
            "pip": pip, "uv": uv, "conda": conda, "container": container, "image_uri": image_uri,
            "env_vars": env_vars, "worker_process_setup_hook": worker_process_setup_hook,
            "nsight": nsight, "rocprof_sys": rocprof_sys, "config": config, **kwargs,
        }  # fmt: skip
        super().__init__({name: value for name, value in given.items() if value is not None})
        self._check_fields_together()
        if _validate:
            for name, value in list(self.items()):
                self[name] = value

    def _check_fields_together(self) -> None:
        packages = [name for name in _PACKAGES if name in self]
        if len(packages) > 1:
            raise ValueError(
                f"The fields {' and '.join(packages)} of runtime_env cannot be given together: "
                "give one of 'pip', 'uv' and 'conda'"
            )
        for name in _IMAGES:
            others = set(self) - {name, "config", "env_vars"}
            if name in self and others:
                raise ValueError(
                    f"The field {name!r} of runtime_env cannot be given together with other "
                    f"fields: {sorted(others)}"
                )

    def __setitem__(self, name: str, value: Any) -> None:
        check = _CHECKS.get(name)
        super().__setitem__(name, value if check is None or value is None else check(value))

    def set(self, name: str, value: Any) -> None:
        """Set a field, which is checked."""
        self[name] = value

    def to_dict(self) -> dict[str, Any]:
        """The same as a plain dict."""
        return dict(self)

    def serialize(self) -> str:
        """The same as JSON, with the fields in alphabetical order."""
        return json.dumps(self, sort_keys=True)

    @classmethod
    def deserialize(cls, serialized: str) -> RuntimeEnv:
        """The environment that `serialize` has written."""
        return cls(_validate=False, **json.loads(serialized))

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (dict(self),)

    # -- fields --------------------------------------------------------------------------

    def working_dir(self) -> str:
        """The folder in which tasks begin, "" for the driver's."""
        return str(self.get("working_dir") or "")

    def py_modules(self) -> list[str]:
        """Folders whose parents are on the module path."""
        return list(self.get("py_modules") or [])

    def env_vars(self) -> dict[str, str]:
        """Variables of the environment."""
        return dict(self.get("env_vars") or {})

    def has_pip(self) -> bool:
        """Whether it asks for packages of pip's."""
        return bool(self.get("pip"))

    def has_uv(self) -> bool:
        """Whether it asks for packages of uv's."""
        return bool(self.get("uv"))

    def has_conda(self) -> bool:
        """Whether it asks for a conda environment."""
        return bool(self.get("conda"))

    def has_working_dir(self) -> bool:
        """Whether it names a folder in which tasks begin."""
        return bool(self.get("working_dir"))


def _restore(fields: dict[str, Any]) -> RuntimeEnv:
    return RuntimeEnv(_validate=False, **fields)


# -- fields, checked ----------------------------------------------------------------------


def _env_vars(value: Any) -> dict[str, str]:
    what = "runtime_env['env_vars'] must be of type Dict[str, str]"
    if not isinstance(value, Mapping):
        raise TypeError(f"{what}, got {type(value)}")
    for item in (x for pair in value.items() for x in pair):
        if not isinstance(item, str):
            raise TypeError(f"{what}, but has {item!r} of type {type(item)}")
    return dict(value)


def _strings(name: str, value: Any) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TypeError(f"{name} must be a list of strings, but is {value!r}")
    return list(value)


def _path(name: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if not isinstance(value, str | os.PathLike):
            raise TypeError(f"`{name}` must be a string, got {type(value)}.")
        path = os.fspath(value)
        if "://" not in path and not os.path.exists(os.path.expanduser(path)):
            raise ValueError(f"{path} is not a valid path.")
        return path

    return check


def _py_modules(value: Any) -> list[str]:
    if not isinstance(value, list):
        raise TypeError(f"`py_modules` must be a list of strings, got {type(value)}.")
    check = _path("py_modules")
    return [
        place_of(module) if isinstance(module, ModuleType) else check(module) for module in value
    ]


def place_of(module: ModuleType) -> str:
    """The folder of a package, the file of a module that is alone."""
    folders = getattr(module, "__path__", None)
    return str(next(iter(folders)) if folders else module.__file__)


def _packages(name: str) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if isinstance(value, list):
            return {"packages": _strings(f"runtime_env[{name!r}]", value), f"{name}_check": False}
        if not isinstance(value, str | dict):
            raise TypeError(
                f"runtime_env[{name!r}] must be of type str, List[str] or dict, got {type(value)}"
            )
        return value

    return check


def _config(value: Any) -> RuntimeEnvConfig:
    if not isinstance(value, dict):
        raise TypeError(
            f"runtime_env['config'] must be of type dict or RuntimeEnvConfig, got: {type(value)}"
        )
    fields = RuntimeEnvConfig.known_fields
    return RuntimeEnvConfig(**{name: item for name, item in value.items() if name in fields})


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "env_vars": _env_vars, "working_dir": _path("working_dir"), "py_modules": _py_modules,
    "pip": _packages("pip"), "uv": _packages("uv"), "config": _config,
    "excludes": lambda value: _strings("runtime_env['excludes']", value),
}  # fmt: skip
