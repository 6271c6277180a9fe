"""What may happen to a store from outside: an error that says so, and the session goes on."""

from __future__ import annotations

import gc
import os
import subprocess
import tempfile
from time import monotonic, sleep

import numpy as np
import pytest

from ray_on_dask.runtime import current

MB = 1 << 20


@pytest.fixture
def small_mount():
    """A file system of 48 MB in memory."""
    with tempfile.TemporaryDirectory() as path:
        options = ["mount", "-t", "tmpfs", "-o", "size=48m", "none", path]
        if subprocess.run(options, capture_output=True).returncode:
            pytest.skip("no file system can be mounted here")
        yield path
        subprocess.run(["umount", "-l", path], capture_output=True)


def test_a_file_system_that_somebody_else_fills(ray_session, small_mount):
    ray = ray_session(plasma_directory=small_mount, object_store_memory=400 * MB)
    ref = ray.put(np.full(4 * MB, 7, np.uint8))
    filler = os.path.join(small_mount, "somebody-else-s")
    with open(filler, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, 40 * MB)
    kept = ray.get(ref)  # it is read, so it stays where it is
    start = monotonic()
    with pytest.raises(ray.exceptions.ObjectStoreFullError, match="no room for"):
        ray.put(np.zeros(20 * MB, np.uint8))
    assert monotonic() - start < 20
    assert kept.min() == kept.max() == 7

    @ray.remote(max_retries=0)
    def large():
        return np.zeros(20 * MB, np.uint8)

    with pytest.raises(ray.exceptions.ObjectStoreFullError):
        ray.get(large.remote(), timeout=60)
    os.unlink(filler)
    assert ray.get(ray.put(np.ones(20 * MB, np.uint8))).sum() == 20 * MB
    assert ray.get(large.remote(), timeout=60).nbytes == 20 * MB
    del kept, ref
    ray.shutdown()
    gc.collect()


def test_objects_make_room_in_a_file_system_that_is_full(ray_session, small_mount):
    """The count says that there is room, the file system that there is none."""
    ray = ray_session(plasma_directory=small_mount, object_store_memory=400 * MB)
    refs = [ray.put(np.full(6 * MB, i, np.uint8)) for i in range(20)]
    assert [int(ray.get(ref)[-1]) for ref in refs] == list(range(20))
    del refs
    ray.shutdown()
    gc.collect()


def test_a_directory_that_cannot_be_written_to_is_refused_by_init(ray_session, tmp_path):
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "ro", "none", str(tmp_path)], capture_output=True
    ).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        for name in ("plasma_directory", "object_spilling_directory"):
            with pytest.raises(ValueError, match=rf"init\({name}='{tmp_path}'\): it cannot be wri"):
                ray_session(**{name: str(tmp_path)})
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], capture_output=True)


def test_huge_pages_where_there_are_none_is_refused_by_init(ray_session):
    with pytest.raises(ValueError, match="requires a hugetlbfs mount, and it is on tmpfs"):
        ray_session(plasma_directory="/dev/shm", huge_pages=True)


def test_a_put_that_is_cut_off_is_lost_and_says_so(ray_session):
    ray = ray_session()
    ref = ray.put(np.ones(16 * MB, np.uint8))
    sleep(0.4)
    os.truncate(ref._entry.data.segment, 4096)
    with pytest.raises(ray.exceptions.ObjectLostError, match=ref.hex()):
        ray.get(ref, timeout=30)
    assert ray.get(ray.put(np.ones(MB, np.uint8))).sum() == MB


def test_what_killed_processes_have_written_is_given_back(ray_session):
    ray = ray_session(object_store_memory=256 * MB)
    store = current.process.storing.store

    @ray.remote
    class Writer:
        def write(self):
            self.mine = [ray.put(np.ones(MB, np.uint8)) for _ in range(20)]
            return [ray.put(np.full(MB, 5, np.uint8)) for _ in range(5)], os.getpid()

    for _ in range(3):
        writer = Writer.remote()
        kept, pid = ray.get(writer.write.remote())
        os.kill(pid, 9)
        end = monotonic() + 15
        while store.total_used() > 6 * MB:
            assert monotonic() < end, store.total_used()
            sleep(0.05)
        assert [int(ray.get(ref)[0]) for ref in kept] == [5] * 5
        del kept
        end = monotonic() + 15
        while store.total_used():
            assert monotonic() < end, store.total_used()
            sleep(0.05)
