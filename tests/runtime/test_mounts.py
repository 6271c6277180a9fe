"""Directories that objects can, and cannot, lie in."""

from __future__ import annotations

import os
import subprocess

import pytest

from ray_on_dask.runtime.mounts import file_system, problem


def mount(kind, where, options="rw"):
    done = subprocess.run(
        ["mount", "-t", kind, "-o", options, "none", str(where)], capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"{kind} cannot be mounted here: {done.stderr.strip()}")


@pytest.fixture
def mounted(tmp_path):
    """A function that mounts a file system for the test."""
    points = []

    def at(kind, options="rw"):
        points.append(tmp_path / "a b")
        points[-1].mkdir()
        mount(kind, points[-1], options)
        return str(points[-1])

    yield at
    for point in points:
        subprocess.run(["umount", "-l", str(point)], capture_output=True)


def test_shared_memory_is_a_file_system_in_memory():
    assert file_system("/dev/shm/not/there") == "tmpfs"
    assert problem("/dev/shm", huge_pages=False) == ""
    assert "requires a hugetlbfs mount, and it is on tmpfs" in problem("/dev/shm", huge_pages=True)


def test_a_mount_with_a_space_in_its_name_is_found(mounted):
    assert file_system(mounted("tmpfs")) == "tmpfs"


def test_what_is_mounted_read_only_is_told(mounted):
    directory = mounted("tmpfs", "ro")
    if os.access(directory, os.W_OK):
        pytest.skip("a read-only mount can be written to here")
    assert problem(directory, huge_pages=False) == "it cannot be written to"


def test_a_file_is_no_directory(tmp_path):
    (tmp_path / "file").write_text("")
    assert problem(str(tmp_path / "file"), huge_pages=False) == "it is no directory"


def test_huge_pages_on_a_mount_of_theirs(mounted):
    assert problem(mounted("hugetlbfs"), huge_pages=True) == ""
