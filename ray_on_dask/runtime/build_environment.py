"""Makes a virtual environment with packages in it: a program of its own, run once by a node.

``python -m ray_on_dask.runtime.build_environment SPEC``, with SPEC as JSON: ``folder``, ``tool``
("pip" or "uv"), ``packages``, ``options``, ``check``, ``version``, ``seconds`` and ``paths``, the
module path of those for whom it is made. What it does is on stdout; it ends with 0 if all is there.

The environment sees what its node's interpreter sees, but for packages of its own that come first.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import venv
from pathlib import Path
from typing import Any


def main(text: str) -> int:
    """Make the environment that a SPEC describes."""
    spec = json.loads(text)
    seconds = spec["seconds"]
    deadline = time.monotonic() + seconds if seconds > 0 else None
    try:
        build(spec, deadline)
    except TimeoutError:
        print(f"not done within {seconds} s (config: setup_timeout_seconds)", flush=True)
        return 1
    except subprocess.CalledProcessError as error:
        return error.returncode or 1
    except OSError as error:
        print(error, flush=True)
        return 1
    return 0


def build(spec: dict[str, Any], deadline: float | None) -> None:
    """Make it, step by step."""
    folder = Path(spec["folder"])
    print(f"making a virtual environment in {folder}", flush=True)
    venv.create(folder, with_pip=False, symlinks=True, clear=True)
    site = site_of(folder)
    # After the environment's own: what the node's interpreter has is there, and comes second.
    Path(site, "_node.pth").write_text("".join(f"{path}\n" for path in spec["paths"] if path))
    python = str(folder / "bin" / "python")
    if spec["tool"] == "uv":
        _with_uv(spec, python, deadline)
    else:
        _with_pip(spec, python, deadline)


def site_of(folder: str | Path) -> str:
    """Where the packages of a virtual environment of this Python are."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return str(Path(folder) / "lib" / version / "site-packages")


def _with_pip(spec: dict[str, Any], python: str, deadline: float | None) -> None:
    pip = [sys.executable, "-m", "pip", "--python", python]
    quiet = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    if spec["version"]:
        _run([*pip, "install", *quiet, f"pip{_pinned(spec['version'])}", "--ignore-installed"],
             deadline)  # fmt: skip
        pip = [python, "-m", "pip"]
    _run([*pip, "install", *quiet, *spec["options"], *_lines(spec)], deadline)
    if spec["check"]:
        _run([*pip, "check"], deadline)


def _with_uv(spec: dict[str, Any], python: str, deadline: float | None) -> None:
    uv = shutil.which("uv") or shutil.which("uv", path=os.path.dirname(sys.executable))
    if uv is None:
        raise OSError("uv is not installed on this node: install it, or use pip instead")
    _run([uv, "pip", "install", "--python", python, *spec["options"], *_lines(spec)], deadline)
    if spec["check"]:
        _run([uv, "pip", "check", "--python", python], deadline)


def _pinned(version: str) -> str:
    return version if version[0] in "=<>~!" else f"=={version}"


def _lines(spec: dict[str, Any]) -> list[str]:
    """Packages as arguments; a line with options, as files of requirements have them, is many."""
    words: list[str] = []
    for line in spec["packages"]:
        words += line.split() if line.startswith("-") else [line]
    return words


def _run(command: list[str], deadline: float | None) -> None:
    """Run a program and what it starts, until it ends or its time is over."""
    print("$", *command, flush=True)
    left = None if deadline is None else max(0.0, deadline - time.monotonic())
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        status = process.wait(left)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise TimeoutError from None
    if status:
        raise subprocess.CalledProcessError(status, command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
