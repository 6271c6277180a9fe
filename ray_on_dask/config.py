"""Settings from Dask's configuration: section ``ray-on-dask`` of its YAML files and variables.

A driver reads them without importing Dask, which takes longer than all the rest of `init`'s own
work, unless a file has the section, or the program uses Dask already.
"""

from __future__ import annotations

import functools
import os
import site
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SECTION = "ray-on-dask"
_VARIABLE = "DASK_RAY_ON_DASK__"
#: All settings; `ray-on-dask-schema.yaml` says what they mean.
NAMES = (
    "address", "redis", "wait-timeout-unit", "object-store-memory", "plasma-directory", "temp-dir",
    "log-to-driver", "namespace", "dashboard-port", "connect-timeout", "node-timeout",
    "spread-threshold", "drain-timeout",
    "lineage-memory", "node-death-timeout", "num-cpus", "num-gpus", "memory", "resources", "labels",
    "spill-directory", "store-wait",
)  # fmt: skip


def setting(name: str, default: Any = None) -> Any:
    """The value of ``ray-on-dask.<name>``, `default` where it is not set or null.

    ``DASK_RAY_ON_DASK__<NAME>`` in the environment comes first, then what the program has set by
    `dask.config.set`, then the files that Dask reads.
    """
    assert name in NAMES, name
    text = os.environ.get(_VARIABLE + name.upper().replace("-", "_"))
    if text is not None:
        return _parsed(text)
    if "dask.config" not in sys.modules and not _has_section(
        os.environ.get("DASK_ROOT_CONFIG", "/etc/dask"), os.environ.get("DASK_CONFIG", "")
    ):
        return default
    import dask.config

    found = dask.config.get(f"{SECTION}.{name}", None)
    return default if found is None else found


def number(name: str, default: float, least: float = 0.0, most: float = float("inf")) -> float:
    """A setting that is a number within limits; `ValueError` naming it if it is none."""
    value = setting(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        limits = f"{least:g} on" if most == float("inf") else f"{least:g} to {most:g}"
        raise ValueError(f"{SECTION}.{name} is {value!r}: a number from {limits} is expected")
    return float(value)


def _parsed(text: str) -> Any:
    """A variable's value, as Dask reads it: a Python literal, else the text."""
    import ast

    if text.lower() in ("true", "false", "none", "null"):
        return {"true": True, "false": False}.get(text.lower())
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


@functools.cache
def _has_section(*folders: str) -> bool:
    """Whether any file that Dask reads has our section."""
    return any(_files(*folders))


def _files(*given: str) -> Iterator[Path]:
    folders = [
        *given, *(os.path.join(prefix, "etc", "dask") for prefix in [sys.prefix, *site.PREFIXES]),
        os.path.expanduser("~/.config/dask"),
    ]  # fmt: skip
    for folder in dict.fromkeys(filter(None, folders)):
        path = Path(folder)
        for file in [path] if path.is_file() else sorted(path.glob("*.y*ml")):
            try:
                text = file.read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue
            if SECTION in text or "ray_on_dask" in text:
                yield file


def nbytes(size: Any) -> int | None:
    """Bytes of a size such as 4000000 or "4GB"; `ValueError` if it is none."""
    if size is None or isinstance(size, int):
        return size
    from dask.utils import parse_bytes

    return int(parse_bytes(size))
