"""A node's directories: private, locked while it or its zygote lives, swept when both are dead."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ray_on_dask.runtime import process_tree
from ray_on_dask.runtime.directories import LONGEST_PATH, NodeDirectories, host_id, sweep

MAKE = """
import sys
from ray_on_dask.runtime.directories import NodeDirectories
d = NodeDirectories.create(sys.argv[1], sys.argv[1], "dead")
print(d.session_dir, d.shm_dir, flush=True)
"""
HOLD = """
import subprocess
subprocess.Popen(["sleep", "100"], pass_fds=d.locks, stdout=-3, stderr=-3)
"""


@pytest.fixture
def base(tmp_path_factory):
    return str(tmp_path_factory.mktemp("d"))


def die(base: str, more: str = "") -> list[str]:
    """Directories of a node that has ended without removing them."""
    command = [sys.executable, "-c", MAKE + more, base]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_both_directories_are_private_and_short_enough_for_sockets(base):
    made = NodeDirectories.create(base, None, "0123456789abcdef")
    try:
        assert made.shm_dir.startswith("/dev/shm/") and len(made.session_dir) < LONGEST_PATH
        for directory in (made.session_dir, made.shm_dir):
            for path in (Path(directory), Path(directory).parent):
                assert path.stat().st_mode & 0o777 == 0o700 and path.stat().st_uid == os.geteuid()
    finally:
        made.remove()
    assert not os.path.exists(made.session_dir) and not os.path.exists(made.shm_dir)
    made.remove()


def test_sweep_removes_the_dead_and_leaves_the_living(base):
    dead = die(base)
    living = NodeDirectories.create(base, base, "living")
    assert all(map(os.path.exists, dead))
    assert set(sweep(base, base, grace=0)) == set(dead)
    assert not any(map(os.path.exists, dead)) and os.path.exists(living.session_dir)
    living.remove()


def test_the_lock_lives_as_long_as_a_process_that_inherited_it(base):
    """The zygote cleans up after the node; nobody may do it at the same time."""
    dead = die(base, HOLD)
    holders = [pid for pid in process_tree.processes() if _holds(pid, dead[0])]
    assert len(holders) == 1 and sweep(base, base, grace=0) == []
    process_tree.end(holders)
    while _holds(holders[0], dead[0]):
        pass
    assert set(sweep(base, base, grace=0)) == set(dead)


def test_sweep_leaves_what_may_be_in_the_making(base):
    """Between `mkdir` and `flock` a directory looks dead."""
    dead = die(base)
    assert sweep(base, base) == [] and all(map(os.path.exists, dead))


def test_sweep_ends_processes_that_a_dead_session_has_left(base):
    dead = die(base)
    with subprocess.Popen(["sleep", "100"], env={process_tree.SESSION_VARIABLE: dead[0]}) as left:
        sweep(base, base, grace=0)
        assert left.wait(5) == -9


def test_a_directory_that_others_may_write_to_is_refused(base):
    root = Path(base, f"ray_on_dask-{os.geteuid()}")
    root.mkdir()
    root.chmod(0o777)
    with pytest.raises(PermissionError, match="may be written by others"):
        NodeDirectories.create(base, base, "n")
    assert sweep(base, base, grace=0) == []


def test_a_link_in_place_of_our_directory_is_refused(base, tmp_path):
    Path(base, f"ray_on_dask-{os.geteuid()}").symlink_to(tmp_path)
    with pytest.raises(PermissionError, match="not a directory of user"):
        NodeDirectories.create(base, base, "n")


def test_a_base_that_is_too_long_for_sockets_is_refused(base):
    with pytest.raises(ValueError, match="too long for Unix sockets"):
        NodeDirectories.create(base + "/" + "x" * LONGEST_PATH, None, "n")


def test_a_long_temporary_directory_of_the_system_is_not_used(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / ("x" * LONGEST_PATH)))
    made = NodeDirectories.create(None, str(tmp_path), f"long-{os.getpid()}")
    made.remove()
    assert made.session_dir.startswith("/tmp/ray_on_dask-")


def test_a_name_is_used_once(base):
    made = NodeDirectories.create(base, base, "n")
    with pytest.raises(FileExistsError):
        NodeDirectories.create(base, base, "n")
    assert os.path.exists(made.session_dir)
    made.remove()


def test_processes_of_one_host_have_one_host_id():
    code = "from ray_on_dask.runtime.directories import host_id; print(host_id())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == host_id() != ""


def _holds(pid: int, directory: str) -> bool:
    try:
        fds = os.listdir(f"/proc/{pid}/fd")
        return any(os.readlink(f"/proc/{pid}/fd/{fd}") == f"{directory}/lock" for fd in fds)
    except OSError:
        return False
