"""Folders of a `runtime_env`, taken along: packed once, handed to the cluster once."""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
import types
import zipfile
from collections.abc import Mapping, Sequence
from typing import IO, Any

from ray_on_dask.runtime import current, package_names, packages

_lock = threading.RLock()
#: {(path, excludes, field): (what its files looked like, the package)} of this session.
_known: dict[tuple[str, tuple[str, ...], str], tuple[bytes, str]] = {}
#: Packages that the cluster has not been given yet.
_unsent: dict[str, IO[bytes]] = {}


def forget() -> None:
    """A session begins: its cluster knows nothing of what was packed for another."""
    with _lock:
        _known.clear()
        for file in _unsent.values():
            file.close()
        _unsent.clear()


def taken_along(environment: Mapping[str, Any]) -> dict[str, Any]:
    """An environment with packages in place of this host's folders.

    What does not exist here stays as it is: a node may have it.

    Raises
    ------
    RuntimeEnvSetupError
        If a folder is too large, or cannot be read, or the cluster cannot take it.
    TypeError
        If what should be a path or a list is none.
    """
    told = dict(environment)
    _check_types(told)
    excludes = tuple(told.pop("excludes", None) or ())
    with _lock:
        if told.get("working_dir"):
            told["working_dir"] = _package(told["working_dir"], excludes, "working_dir")
        if told.get("py_modules"):
            told["py_modules"] = [
                _package(_place(x), excludes, "py_modules") for x in told["py_modules"]
            ]
        if current.process is not None:
            send(current.process)
    return told


def _check_types(environment: Mapping[str, Any]) -> None:
    folder, modules = environment.get("working_dir"), environment.get("py_modules")
    if folder is not None and not isinstance(folder, str | os.PathLike):
        raise TypeError(f"runtime_env['working_dir'] must be a path, but is {folder!r}")
    if modules is not None and not isinstance(modules, list | tuple):
        raise TypeError(f"runtime_env['py_modules'] must be a list of paths, but is {modules!r}")


def _place(given: Any) -> Any:
    from ray_on_dask.runtime_env import place_of

    return place_of(given) if isinstance(given, types.ModuleType) else given


def _package(given: Any, excludes: Sequence[str], field: str) -> str:
    path = os.fspath(given)
    if "://" in path or not os.path.exists(os.path.expanduser(path)):
        return str(path)
    path = os.path.realpath(os.path.expanduser(path))
    what = f"runtime_env {field}={given!r}"
    try:
        found = packages.find(path, excludes)
        looks = repr([(x.name, x.status[:2], x.status[6], x.status.st_mtime_ns) for x in found])
        signature = hashlib.sha256(looks.encode()).digest()
        key = path, tuple(excludes), field
        known = _known.get(key)
        if known is not None and known[0] == signature:
            return known[1]
        file = _packed(path, found, field, what)
    except ValueError as error:
        raise _refusal(str(error)) from None
    except OSError as error:
        raise _refusal(f"{what}: {error}") from None
    package = package_names.uri(packages.digest(file))
    _known[key] = signature, package
    _unsent[package_names.name_of(package)] = file
    return package


def _packed(path: str, found: list[packages.Found], field: str, what: str) -> IO[bytes]:
    """A zip file without a name, gone with this process."""
    if os.path.isfile(path) and zipfile.is_zipfile(path):  # a wheel, too
        if os.path.getsize(path) > packages.SIZE_MAX:
            raise packages.too_large(what, found)
        return open(path, "rb")
    if os.path.isfile(path) and field == "working_dir":
        raise ValueError(f"{what}: neither a folder nor a zip file")
    out: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
    try:
        inside = field == "working_dir" or os.path.isfile(path)
        packages.pack(found, out, "" if inside else os.path.basename(path) + "/", what)
    except BaseException:
        out.close()
        raise
    return out


def send(process: Any) -> None:
    """Give the cluster what it has not been given yet."""
    with _lock:
        while _unsent:
            name, file = next(iter(_unsent.items()))
            try:
                _send(process.asking.ask, name, file)
            except ValueError as error:
                _known.clear()
                raise _refusal(f"The cluster cannot take a package: {error}") from None
            except BaseException:
                _known.clear()
                raise
            finally:
                file.close()
                del _unsent[name]


def _send(ask: Any, name: str, file: IO[bytes]) -> None:
    size = file.seek(0, os.SEEK_END)
    if not ask("package_begin", name=name, size=size):
        return  # it is there
    file.seek(0)
    for start in range(0, size, packages.PART):
        ask("package_part", name=name, start=start, data=file.read(packages.PART))


def _refusal(text: str) -> Exception:
    from ray_on_dask.exceptions import RuntimeEnvSetupError

    return RuntimeEnvSetupError(text)
