"""A job's working directory, taken along: packed where it is submitted, unpacked where it runs."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Sequence


def pack(directory: str, excludes: Sequence[str] = ()) -> bytes:
    """The files of a directory (or a zip file as it is), but for those that match `excludes`.

    Raises
    ------
    ValueError
        If it is neither, or too large.
    """
    from ray_on_dask.runtime import packages

    what = f"runtime_env working_dir={directory!r}"
    if os.path.isfile(directory) and zipfile.is_zipfile(directory):
        with open(directory, "rb") as file:
            return file.read()
    if not os.path.isdir(directory):
        raise ValueError(f"{what}: neither a directory of this machine nor a zip file")
    buffer = io.BytesIO()
    packages.pack(packages.find(directory, excludes), buffer, what=what)
    return buffer.getvalue()


def unpack(packed: bytes, directory: str) -> None:
    """Put the files there, with the right to be executed that they had."""
    from ray_on_dask.runtime import packages

    packages.unpack(io.BytesIO(packed), directory)
