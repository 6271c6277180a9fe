"""The stored objects of a node: seals and frees in any order, writers that die."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from ray_on_dask.core.stored_objects import (
    KeepOnly,
    PunchHole,
    RemoveFile,
    StoredObjects,
    TellWriter,
)
from ray_on_dask.wire.messages import Located


def at(file, offset=0):
    return Located("n", file, offset, 10)


@pytest.fixture
def objects():
    objects = StoredObjects()
    yield objects
    objects.validate()


def test_a_freed_object_gives_its_space_back_to_its_writer(objects):
    assert objects.sealed("w", b"x", at("f"), "key") == []
    assert objects.bytes_of("w") == 10
    assert objects.freed(b"x") == [TellWriter("w", at("f"))]
    assert objects.bytes_of("w") == 0 and not objects.files


def test_a_free_that_overtakes_its_seal_leaves_a_tombstone(objects):
    """The owner frees on one line what the writer seals on another."""
    assert objects.freed(b"x") == []
    assert objects.sealed("w", b"x", at("f"), "key") == [TellWriter("w", at("f"))]
    assert not objects.objects and not objects._tombstones


def test_what_a_retry_writes_stays_as_long_as_the_object(objects):
    """Its first run has died with its results on their way, or has told of some: nobody knows."""
    objects.sealed("w", b"x", at("f"), "key")
    assert objects.writer_gone("w", ["f"]) == [KeepOnly("f", ((0, 10),))]
    assert objects.sealed("v", b"x", at("g"), "key") == []
    assert objects.objects[b"x"].writer == "w"
    assert objects.writer_gone("v", ["g"]) == [KeepOnly("g", ((0, 10),))]
    assert objects.freed(b"x") == [RemoveFile("f"), RemoveFile("g")]


def test_a_result_that_its_owner_never_heard_of_goes_alone(objects):
    objects.sealed("w", b"x", at("f"), "k"), objects.sealed("v", b"x", at("g"), "k")
    assert objects.unwanted(b"x", at("h")) == []
    assert objects.unwanted(b"x", at("f")) == [TellWriter("w", at("f"))]
    assert objects.objects[b"x"].at == at("g")
    objects.sealed("w", b"x", at("f"), "k")
    assert objects.unwanted(b"x", at("f")) == [TellWriter("w", at("f"))]
    assert objects.unwanted(b"x", at("g")) == [TellWriter("v", at("g"))]
    assert not objects.objects and not objects.again


def test_owners_are_asked_of_the_last_that_a_dead_process_wrote_for_them(objects, monkeypatch):
    writer, one, two = "aa" * 8, b"\xbb" * 8, b"\xcc" * 8
    monkeypatch.setattr("ray_on_dask.core.stored_objects.LAST_WRITTEN", 3)
    for number in range(4):
        objects.sealed(writer, one + b"%d" % number, at("f", number), "k")
    objects.sealed(writer, b"\xaa" * 8 + b"own", at("f", 8), "k")
    objects.sealed("w", one + b"other", at("g"), "k")
    objects.sealed(writer, two, at("f", 9), "k")
    asked = objects.unheard(writer)
    assert asked == {
        two.hex(): [(two, at("f", 9))],
        one.hex(): [(one + b"3", at("f", 3)), (one + b"2", at("f", 2))],
    }
    assert objects.unheard("nobody") == {}


def test_files_of_a_dead_writer_go_with_their_last_object(objects):
    objects.sealed("w", b"x", at("f"), "k"), objects.sealed("w", b"y", at("f", 10), "k")
    kept = KeepOnly("f", ((0, 10), (10, 10)))
    assert objects.writer_gone("w", ["f", "empty"]) == [RemoveFile("empty"), kept]
    assert objects.freed(b"x") == [PunchHole(at("f"))]
    assert objects.freed(b"y") == [RemoveFile("f")]


def test_a_seal_that_comes_after_the_death_of_its_writer_is_good(objects):
    assert objects.writer_gone("w", []) == []
    assert objects.sealed("w", b"x", at("f"), "k") == []
    assert objects.freed(b"x") == [RemoveFile("f")]


def test_what_has_moved_to_disk_gives_its_place_back_and_goes_with_its_file(objects):
    objects.sealed("w", b"x", at("f"), "k"), objects.sealed("w", b"y", at("f", 10), "k")
    assert objects.moved(b"x", at("disk")) == [TellWriter("w", at("f"))]
    assert objects.moved(b"y", at("disk", 10)) == [TellWriter("w", at("f", 10))]
    assert objects.bytes_of("w") == 0 and objects.objects[b"y"].at == at("disk", 10)
    assert objects.freed(b"x") == [PunchHole(at("disk"))]
    assert objects.freed(b"y") == [RemoveFile("disk")]


def test_tombstones_do_not_grow_without_end(objects, monkeypatch):
    monkeypatch.setattr("ray_on_dask.core.stored_objects.TOMBSTONES", 5)
    for number in range(20):
        objects.freed(b"%d" % number)
    assert list(objects._tombstones) == [b"%d" % number for number in range(15, 20)]


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["seal", "free", "unwanted", "die"]),
        st.integers(0, 5),
        st.sampled_from("vw"),
    ),
    max_size=40,
)


@given(EVENTS)
@settings(max_examples=100, deadline=None)
def test_in_any_order_each_place_is_given_back_once_and_no_file_goes_under_an_object(events):
    objects, places, gone, back = StoredObjects(), 0, set(), []
    for what, number, writer in events:
        id = b"%d" % number
        if what == "seal" and writer not in gone:
            places += 1
            out = objects.sealed(writer, id, at(f"file-{writer}", places), "k")
        elif what == "free":
            out = objects.freed(id)
        elif what == "unwanted":
            copies = [x for x in objects._all() if x.id == id]
            out = objects.unwanted(id, copies[-1].at) if copies else []
        elif what == "die" and writer not in gone:
            gone.add(writer)
            out = objects.writer_gone(writer, [f"file-{writer}"])
        else:
            out = []
        objects.validate()
        for told in out:
            if isinstance(told, TellWriter):
                assert told.writer not in gone
                back.append(told.place)
            elif isinstance(told, RemoveFile):
                assert told.path not in objects.files
    assert len(back) == len({place.offset for place in back})
