"""A job's working directory, taken along: packed where it is submitted, unpacked where it runs."""

from __future__ import annotations

import fnmatch
import io
import os
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

#: Bytes that a working directory may take when packed.
SIZE_MAX = 512 << 20
#: Never taken along.
_ALWAYS_LEFT = ("__pycache__", ".git")


def pack(directory: str, excludes: Sequence[str] = ()) -> bytes:
    """The files of a directory (or a zip file as it is), but for those that match `excludes`.

    Raises
    ------
    ValueError
        If it is neither, or too large.
    """
    root = Path(directory)
    if root.is_file() and zipfile.is_zipfile(root):
        return root.read_bytes()
    if not root.is_dir():
        raise ValueError(
            f"runtime_env working_dir={directory!r}: neither a directory of this machine nor a zip "
            "file"
        )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for path in _files(root, excludes):
            file.write(path, path.relative_to(root))
            if buffer.tell() > SIZE_MAX:
                raise ValueError(
                    f"runtime_env working_dir={directory!r} has more than {SIZE_MAX >> 20} MiB: "
                    "leave something out by excludes=[…]"
                )
    return buffer.getvalue()


def _files(root: Path, excludes: Sequence[str]) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        here = Path(folder)
        folders[:] = [x for x in folders if not _left(here / x, root, excludes)]
        yield from (here / name for name in names if not _left(here / name, root, excludes))


def _left(path: Path, root: Path, excludes: Sequence[str]) -> bool:
    name = path.relative_to(root).as_posix()
    return path.name in _ALWAYS_LEFT or any(
        fnmatch.fnmatch(name, pattern.strip("/")) or fnmatch.fnmatch(path.name, pattern)
        for pattern in excludes
    )


def unpack(packed: bytes, directory: str) -> None:
    """Put the files there, with the right to be executed that they had."""
    with zipfile.ZipFile(io.BytesIO(packed)) as file:
        for entry in file.infolist():
            path = file.extract(entry, directory)  # never outside of the directory
            mode = entry.external_attr >> 16 & 0o777
            if mode and not entry.is_dir():
                os.chmod(path, mode | 0o600)
