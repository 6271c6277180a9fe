"""How packages of folders are named in a `runtime_env`, and where a node has them.

A package's name is the hash of its bytes; it is spelled as Ray spells it (``gcs://_ray_pkg_….zip``).
"""

from __future__ import annotations

import os
import re
from typing import Any

_URI = re.compile(r"gcs://(_ray_pkg_[0-9a-f]{32})\.zip")


def uri(digest: str) -> str:
    """How a package is spelled in a `runtime_env`."""
    return f"gcs://_ray_pkg_{digest[:32]}.zip"


def name_of(spelled: Any) -> str:
    """The name of a package that is spelled so; "" if it is none."""
    found = _URI.fullmatch(spelled) if isinstance(spelled, str) else None
    return found[1] if found else ""


def names_in(environment: dict[str, Any]) -> list[str]:
    """The packages that an environment needs."""
    given = [environment.get("working_dir"), *(environment.get("py_modules") or ())]
    return [name for name in map(name_of, given) if name]


def folder_of(session_dir: str, name: str) -> str:
    """Where a node has unpacked a package."""
    return os.path.join(session_dir, "packages", name)
