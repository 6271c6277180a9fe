"""Frames: cut anywhere, several at once, garbage, and lengths that cannot be meant."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from ray_on_dask.wire import messages as m
from ray_on_dask.wire.frames import FRAME_MAX, FrameReader, pack, pack_all

SOME: list[m.Message] = [
    m.Sync(7), m.Cancel(b"t" * 16, True), m.JobEnded(3),
    m.Resolved(b"r", m.Value(m.INLINE, b"x" * 300, None, [b"i"])),
]  # fmt: skip


@given(st.lists(st.sampled_from(SOME), max_size=8), st.data())
@settings(max_examples=100, deadline=None)
def test_messages_come_out_as_they_went_in_wherever_the_stream_is_cut(messages, data):
    stream = pack_all(messages)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=12))
    reader, found, last = FrameReader(), [], 0
    for cut in [*sorted(cuts), len(stream)]:
        found += reader.feed(stream[last:cut])
        last = cut
    assert found == messages


def test_a_stream_may_come_byte_by_byte():
    reader = FrameReader()
    found = [message for byte in pack_all(SOME) for message in reader.feed(bytes([byte]))]
    assert found == SOME


def test_one_run_of_bytes_is_the_frames_one_after_another():
    assert pack_all(SOME) == b"".join(map(pack, SOME))
    assert pack_all([]) == b""


def test_messages_do_not_change_when_the_buffer_they_were_read_into_does():
    """A reactor reads every channel into one buffer."""
    buffer = bytearray(pack(SOME[3]))
    (message,) = FrameReader().feed(memoryview(buffer))
    buffer[:] = bytes(len(buffer))
    assert message == SOME[3]


def test_half_a_frame_does_not_change_when_the_buffer_does():
    frame, reader = pack(SOME[3]), FrameReader()
    buffer = bytearray(frame[:20])
    assert reader.feed(memoryview(buffer)) == []
    buffer[:] = bytes(20)
    assert reader.feed(frame[20:]) == [SOME[3]]


@given(st.binary(min_size=4, max_size=200))
@settings(max_examples=200, deadline=None)
def test_garbage_is_a_value_error_or_the_wait_for_more_and_nothing_else(garbage):
    try:
        found = FrameReader().feed(garbage)
    except ValueError:
        return
    assert all(type(message) in m.TAGS.values() for message in found)


@pytest.mark.parametrize("body", [b"", b"\xc0", b"\x91\x01", b"\x92\xcd\x03\xe7\x00", b"hello"])
def test_a_frame_that_is_no_message_is_a_value_error(body):
    with pytest.raises(ValueError):
        FrameReader().feed(len(body).to_bytes(4, "little") + body)


def test_a_length_that_nobody_means_is_refused_before_the_bytes_come():
    with pytest.raises(ValueError, match="frame of"):
        FrameReader().feed((FRAME_MAX + 1).to_bytes(4, "little"))
    assert FrameReader().feed((1 << 20).to_bytes(4, "little")) == []
