"""Folders that are taken along: what is left out, what is the same, what comes out again."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import pytest

from ray_on_dask.runtime import package_names, packages
from ray_on_dask.runtime.ignore_rules import IgnoreRules


@pytest.mark.parametrize(
    ("lines", "left", "kept"),
    [
        (["*.log"], ["a.log", "a/b.log"], ["a.log2", "log"]),
        (["/data"], ["data"], ["a/data"]),
        (["a/*.txt"], ["a/b.txt"], ["b.txt", "a/b/c.txt"]),
        (["**/x"], ["x", "a/x", "a/b/x"], ["ax"]),
        (["a/**/z"], ["a/z", "a/b/z", "a/b/c/z"], ["b/z"]),
        (["a/**"], ["a/b", "a/b/c"], ["b"]),
        (["[!b-y]?"], ["a1", "z1"], ["b1", "a"]),
        (["*.log", "!kept.log"], ["a.log"], ["kept.log"]),
        (["#a", "", r"\#b", "./c"], ["#b", "c"], ["#a", "a"]),
    ],
)
def test_patterns_are_those_of_gitignore(
    lines: list[str], left: list[str], kept: list[str]
) -> None:
    rules = IgnoreRules(lines)
    assert [path for path in left if not rules.leaves(path, False)] == []
    assert [path for path in kept if rules.leaves(path, False)] == []


def test_a_pattern_may_be_for_folders_alone() -> None:
    rules = IgnoreRules(["build/"])
    assert rules.leaves("a/build", True)
    assert not rules.leaves("a/build", False)


def packed(root: Path, excludes: tuple[str, ...] = ()) -> bytes:
    """The bytes of a package of a folder."""
    out = io.BytesIO()
    packages.pack(packages.find(str(root), excludes), out)
    return out.getvalue()


def test_what_is_packed_comes_out_again_but_for_what_is_left(tmp_path: Path) -> None:
    root = tmp_path / "in"
    for name in ("a/run.sh", "a/x.tmp", "a/.gitignore", ".git/config", "venv/bin/python", "b.log"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("*.tmp\n")
    (root / "a" / "run.sh").chmod(0o755)
    (root / "empty").mkdir()
    (root / "a" / "loop").symlink_to(root)
    (root / "nowhere").symlink_to(root / "none")
    os.mkfifo(root / "pipe")
    packages.unpack(io.BytesIO(packed(root, ("*.log",))), str(tmp_path / "out"))
    out = tmp_path / "out"
    assert sorted(x.relative_to(out).as_posix() for x in out.rglob("*")) == [
        "a", "a/.gitignore", "a/run.sh", "empty",
    ]  # fmt: skip
    assert (out / "a" / "run.sh").stat().st_mode & 0o111
    assert not (out / "a" / ".gitignore").stat().st_mode & 0o111


def test_the_same_files_are_the_same_package(tmp_path: Path) -> None:
    for folder, names in (("one", ["a", "b"]), ("two", ["b", "a"])):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).write_text(name)
    os.utime(tmp_path / "two" / "a", (1e9, 1e9))
    assert packed(tmp_path / "one") == packed(tmp_path / "two")
    (tmp_path / "two" / "a").write_text("b")
    assert packed(tmp_path / "one") != packed(tmp_path / "two")


def test_only_what_gains_by_it_is_compressed(tmp_path: Path) -> None:
    (tmp_path / "noise").write_bytes(os.urandom(200_000))
    (tmp_path / "text").write_bytes(b"word " * 40_000)
    with zipfile.ZipFile(io.BytesIO(packed(tmp_path))) as file:
        assert file.getinfo("noise").compress_type == zipfile.ZIP_STORED
        assert file.getinfo("text").compress_size < 10_000
        assert file.read("noise") == (tmp_path / "noise").read_bytes()


def test_a_package_has_a_name_and_nothing_else_has() -> None:
    name = package_names.name_of(package_names.uri("0123456789abcdef" * 4))
    assert name == "_ray_pkg_0123456789abcdef0123456789abcdef"
    for other in ("gcs://_ray_pkg_../x.zip", "gcs://_ray_pkg_01.zip", "/a", "s3://a/b.zip", None):
        assert package_names.name_of(other) == ""
