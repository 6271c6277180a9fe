"""``import ray`` as another name of this package, for programs written for Ray.

`install_as_ray` makes it so in this process and in all that run its tasks. ``ray.util.queue`` and
the like are the very modules ``ray_on_dask.util.queue`` and so on, so that exceptions and classes
are the same under both names. The module ``ray`` itself is one of its own: there arguments are as
in Ray 2 (`get` and `wait` take keywords, a timeout is always seconds), and a failure that nobody
has fetched is logged when its last ref goes.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NoReturn

__all__ = ["API_VERSION", "install_as_ray", "installed", "run_program"]

#: The release of Ray whose API is followed: what ``ray.__version__`` says.
API_VERSION = "2.60.0"
_OURS = "ray_on_dask"
#: Libraries of Ray's that are none of this package's.
_LIBRARIES = ("air", "data", "llm", "rllib", "serve", "train", "tune", "workflow")


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds ``ray.…`` where ``ray_on_dask.…`` is, before anybody finds a real Ray."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The module of that name, if it is one of ours; `ModuleNotFoundError` if there is none."""
        if name != "ray" and not name.startswith("ray."):
            return None
        rest = name.partition(".")[2]
        if rest.partition(".")[0] in _LIBRARIES:
            raise ModuleNotFoundError(
                f"No module named {name!r}: ray_on_dask has Ray's core API, and none of its "
                "libraries",
                name=name,
            )
        if rest and importlib.util.find_spec(f"{_OURS}.{rest}") is None:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """The module itself; a new one for ``ray``."""
        rest = spec.name.partition(".")[2]
        if not rest:
            return _Ray("ray", __doc__)
        module = importlib.import_module(f"{_OURS}.{rest}")
        spec.loader_state = (module.__spec__, module.__loader__, module.__package__)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is run a second time; what the import system has changed is put right."""
        if isinstance(module, _Ray):
            return
        spec = module.__spec__
        assert spec is not None
        module.__spec__, module.__loader__, module.__package__ = spec.loader_state


class _Ray(ModuleType):
    """The module ``ray``: names of this package, with Ray 2's rules for arguments."""

    def __init__(self, name: str, doc: str | None = None):
        super().__init__(name, doc)
        package = importlib.import_module(_OURS)
        self.__path__ = list(package.__path__)
        self.__version__ = API_VERSION
        self.init, self.get, self.wait = init, get, wait

    def __getattr__(self, name: str) -> Any:
        package = importlib.import_module(_OURS)
        try:
            value = getattr(package, name)
        except AttributeError:
            if name in _LIBRARIES:
                importlib.import_module(f"ray.{name}")  # which says that it is not there
            raise AttributeError(f"module 'ray' has no attribute {name!r}") from None
        self.__dict__[name] = value
        return value

    def __reduce__(self) -> tuple[Any, ...]:
        return importlib.import_module, ("ray",)

    def __dir__(self) -> list[str]:
        return dir(importlib.import_module(_OURS))


def init(address: str | None = None, **given: Any) -> Any:
    """As `ray_on_dask.init`; all but the address by name."""
    from ray_on_dask.api.init import init as begin

    given.setdefault("wait_timeout_unit", "s")
    return begin(address, **given)


def get(object_refs: Any, *, timeout: float | None = None, **given: Any) -> Any:
    """As `ray_on_dask.get`."""
    from ray_on_dask.api.get import get as fetch

    given.pop("_use_object_store", None)
    return fetch(object_refs, timeout=timeout, **given)


def wait(
    ray_waitables: list[Any],
    *,
    num_returns: int = 1,
    timeout: float | None = None,
    fetch_local: bool = True,
) -> tuple[list[Any], list[Any]]:
    """As `ray_on_dask.wait`; the timeout is seconds, int or float."""
    from ray_on_dask.api.wait import wait as wait_for

    seconds = None if timeout is None else float(timeout)
    return wait_for(ray_waitables, num_returns, seconds, fetch_local=fetch_local)


_finder = _Finder()


def install_as_ray() -> ModuleType:
    """Have ``import ray`` mean this package, here and in the tasks and actors of this driver.

    To be called before anything imports ``ray``, and before `init`.

    Returns
    -------
    module
        ``ray``

    Raises
    ------
    RuntimeError
        If a real Ray has been imported in this process already.

    Examples
    --------
    >>> from ray_on_dask.drop_in import install_as_ray
    >>> ray = install_as_ray()
    >>> import ray.util.queue
    """
    if not installed():
        if "ray" in sys.modules:
            where = getattr(sys.modules["ray"], "__file__", "?")
            raise RuntimeError(
                f"ray has been imported already, from {where}: call install_as_ray() first"
            )
        sys.meta_path.insert(0, _finder)
    return importlib.import_module("ray")


def installed() -> bool:
    """Whether ``import ray`` means this package in this process."""
    return _finder in sys.meta_path


def run_program(
    program: str, arguments: list[str], module: bool = False, address: str | None = None
) -> NoReturn:
    """Run a program as `python` would, with ``import ray`` meaning this package; then exit.

    Parameters
    ----------
    program : str
        A file, "-" for what is on stdin, or with `module` a module's name.
    arguments : list of str
        What it finds in ``sys.argv[1:]``.
    address : str, optional
        What its `init` joins.
    """
    install_as_ray()
    if address:
        os.environ["RAY_ON_DASK_ADDRESS"] = address
    if module:
        import runpy

        sys.path[0:1] = [os.getcwd()]
        sys.argv[:] = [program, *arguments]
        runpy.run_module(program, run_name="__main__", alter_sys=True)
        sys.exit(0)
    main = ModuleType("__main__")
    main.__dict__["__builtins__"] = __builtins__
    if program == "-":
        code, folder = compile(sys.stdin.buffer.read(), "<stdin>", "exec"), ""
    else:
        main.__file__, folder = program, os.path.dirname(os.path.abspath(program))
        try:
            with open(program, "rb") as file:
                code = compile(file.read(), program, "exec")
        except OSError as error:
            sys.exit(f"ray-on-dask: can't open file {program!r}: {error.strerror}")
    sys.argv[:] = [program, *arguments]
    sys.path[0:1] = [folder]
    sys.modules["__main__"] = main
    exec(code, main.__dict__)
    sys.exit(0)
