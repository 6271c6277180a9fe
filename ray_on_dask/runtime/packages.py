"""Folders that travel: packed where the driver is, unpacked on the nodes, named by their contents.

A package is a zip file; the same files make the same bytes, whenever and wherever they are packed,
so its hash is its name (`package_names`), which stands in place of the folder in a `runtime_env`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from typing import IO, Any, NamedTuple

from ray_on_dask.runtime.ignore_rules import IgnoreRules

#: Bytes that a package may have.
SIZE_MAX = 512 << 20
#: Bytes of one message with a part of a package.
PART = 1 << 20
#: Seconds that nobody has to wait for compression: it is the fastest, not the smallest.
LEVEL = 1
#: Bytes that tell whether a file is worth being compressed.
SAMPLE = 64 << 10
#: Left out unless ``RAY_OVERRIDE_RUNTIME_ENV_DEFAULT_EXCLUDES`` names others.
_LEFT = ".git,.venv,venv,__pycache__"
_IGNORE_FILES = (".gitignore", ".rayignore")


class Found(NamedTuple):
    """A file, or an empty folder, that is to be packed."""

    path: str
    name: str
    status: os.stat_result


# -- packing ------------------------------------------------------------------------------


def find(root: str, excludes: Sequence[str] = ()) -> list[Found]:
    """What is to be packed of a folder, or a file alone, in a fixed order.

    ``.gitignore`` and ``.rayignore`` count as `excludes` do (``RAY_RUNTIME_ENV_IGNORE_GITIGNORE=1``
    for not the former).
    """
    if not os.path.isdir(root):
        return [Found(root, os.path.basename(root), os.stat(root))]
    left = os.environ.get("RAY_OVERRIDE_RUNTIME_ENV_DEFAULT_EXCLUDES", _LEFT).split(",")
    rules = IgnoreRules(x.strip() for x in left), IgnoreRules(excludes)
    return list(_walk(root, "", [("", one) for one in rules], (os.path.realpath(root),)))


def _walk(
    root: str, here: str, rules: list[tuple[str, IgnoreRules]], above: tuple[str, ...]
) -> Iterator[Found]:
    folder = os.path.join(root, here)
    rules = [*rules, *_rules_in(folder, here)]
    names = sorted(os.listdir(folder))
    if not names and here:
        yield Found(folder, here, os.stat(folder))
    for name in names:
        path, shown = os.path.join(folder, name), here + name
        try:
            status = os.stat(path)
        except FileNotFoundError:
            continue  # a link to nothing
        is_folder = stat.S_ISDIR(status.st_mode)
        if any(one.leaves(shown[len(base) :], is_folder) for base, one in rules):
            continue
        if not is_folder:
            if stat.S_ISREG(status.st_mode):
                yield Found(path, shown, status)
        elif (real := os.path.realpath(path)) not in above:  # a link to where it lies has no end
            yield from _walk(root, f"{shown}/", rules, (*above, real))


def _rules_in(folder: str, here: str) -> Iterator[tuple[str, IgnoreRules]]:
    for name in _IGNORE_FILES:
        if name == ".gitignore" and os.environ.get("RAY_RUNTIME_ENV_IGNORE_GITIGNORE") == "1":
            continue
        try:
            with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as file:
                yield here, IgnoreRules(file)
        except (FileNotFoundError, IsADirectoryError):
            continue


def pack(found: Sequence[Found], out: IO[bytes], prefix: str = "", what: str = "") -> None:
    """Write files as a zip file.

    Parameters
    ----------
    found : sequence of Found
    out : binary file
    prefix : str, optional
        What the names begin with: a folder and "/".
    what : str, optional
        What is packed, for the error.

    Raises
    ------
    ValueError
        If it is too large, with the names of the largest files.
    OSError
        If a file cannot be read.
    """
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=LEVEL) as file:
        for path, name, status in found:
            # Without their time: the same contents are the same package.
            large = status.st_size > 1 << 30
            file.compression = _compression(path, status)
            with file.open(prefix + name, "w", force_zip64=large) as target:
                if not stat.S_ISDIR(status.st_mode):
                    _copy(path, target, out, lambda: too_large(what, found))
            file.getinfo(prefix + name).external_attr = status.st_mode << 16
    if out.tell() > SIZE_MAX:
        raise too_large(what, found)


def _compression(path: str, status: os.stat_result) -> int:
    """As its beginning says: compressing images or weights takes long, and gains nothing."""
    if status.st_size < SAMPLE or stat.S_ISDIR(status.st_mode):
        return zipfile.ZIP_DEFLATED
    with open(path, "rb") as file:
        sample = file.read(SAMPLE)
    gains = len(zlib.compress(sample, LEVEL)) < 0.9 * len(sample)
    return zipfile.ZIP_DEFLATED if gains else zipfile.ZIP_STORED


def _copy(path: str, target: IO[bytes], out: IO[bytes], refusal: Any) -> None:
    with open(path, "rb") as source:
        while data := source.read(PART):
            target.write(data)
            if out.tell() > SIZE_MAX:
                raise refusal()


def too_large(what: str, found: Sequence[Found]) -> ValueError:
    """The error for a package of too many bytes."""
    largest = sorted(found, key=lambda x: -x.status.st_size)[:5]
    files = ", ".join(f"{x.name} ({x.status.st_size / (1 << 20):.1f} MiB)" for x in largest)
    return ValueError(
        f"{what} has more than {SIZE_MAX >> 20} MiB when packed: leave something out by "
        f"excludes=[…]. Its largest files are {files}"
    )


def digest(file: IO[bytes]) -> str:
    """The hash of a package, from its beginning."""
    found = hashlib.sha256()
    file.seek(0)
    while data := file.read(PART):
        found.update(data)
    return found.hexdigest()


# -- unpacking -------------------------------------------------------------------------------


def unpack(packed: Any, folder: str) -> None:
    """Put the files of a package there, with the right to be executed that they had.

    Parameters
    ----------
    packed : path or binary file
    folder : str
        Made if it does not exist; it is removed if not all can be put there.
    """
    os.makedirs(folder, mode=0o700, exist_ok=True)
    try:
        with zipfile.ZipFile(packed) as file:
            for entry in file.infolist():
                path = file.extract(entry, folder)  # never outside of the folder
                mode = entry.external_attr >> 16 & 0o777
                if mode and not entry.is_dir():
                    os.chmod(path, mode | 0o600)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
