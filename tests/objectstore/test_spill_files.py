"""Objects copied to files on disk, and holes punched where they were."""

from __future__ import annotations

import errno
import os

import pytest

from ray_on_dask.objectstore.holes import punch, punch_around
from ray_on_dask.objectstore.places import OWN_SEGMENT
from ray_on_dask.objectstore.spill_files import SpillFiles
from ray_on_dask.wire.messages import Located

SMALL, LARGE = 100_001, OWN_SEGMENT + 5


@pytest.fixture
def files(tmp_path):
    return SpillFiles(str(tmp_path), "node")


def put(store, byte, size):
    return store.write([bytes([byte]) * size], size)


def content(at):
    with open(at.segment, "rb") as file:
        file.seek(at.offset)
        return file.read(at.size)


def test_copies_are_what_was_copied_and_small_ones_share_a_file(store, files, tmp_path):
    sizes = [SMALL, LARGE, 1, SMALL, LARGE]
    objects = [(bytes([i]), put(store, i, size)) for i, size in enumerate(sizes)]
    copies = dict(files.write(objects))
    for i, size in enumerate(sizes):
        at = copies[bytes([i])]
        assert content(at) == bytes([i]) * size and at.offset % 64 == 0
        assert bytes(store.open(at).memory) == bytes([i]) * size
    assert len({at.segment for at in copies.values()}) == len(os.listdir(tmp_path)) == 3
    assert copies[bytes([0])].segment == copies[bytes([3])].segment
    assert {os.stat(tmp_path / name).st_mode & 0o777 for name in os.listdir(tmp_path)} == {0o600}


def test_what_is_gone_is_left_out(store, files, tmp_path):
    there, gone = put(store, 1, LARGE), Located("node", f"{tmp_path}/none", 0, LARGE)
    short = Located("node", there.segment, 0, 10 * LARGE)
    assert [id for id, _ in files.write([(b"g", gone), (b"t", there), (b"s", short)])] == [b"t"]
    assert len(os.listdir(tmp_path)) == 1


def test_a_full_disk_leaves_nothing(store, files, tmp_path, monkeypatch):
    objects = [(b"a", put(store, 1, LARGE)), (b"b", put(store, 2, LARGE))]
    real, calls = os.posix_fallocate, []

    def full(*args):
        calls.append(args)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(*args)

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        files.write(objects)
    assert not os.listdir(tmp_path)


def test_memory_around_objects_is_given_back(store):
    places = [put(store, i, 1 << 20) for i in range(8)]
    path = places[0].segment
    before = os.stat(path).st_blocks
    kept = places[3]
    punch_around(path, [(kept.offset, kept.size)])
    assert os.stat(path).st_blocks <= before // 4
    assert content(kept) == bytes([3]) * (1 << 20)
    punch(path, [(kept.offset, kept.size)])
    assert os.stat(path).st_blocks < 2 * 4096 // 512 + 1
    punch("/not/there", [(0, 1)])
