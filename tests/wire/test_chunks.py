"""Byte strings in a stream of bytes."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from ray_on_dask.wire.chunks import CHUNK_MAX, Chunks, chunk


@given(bodies=st.lists(st.binary(max_size=50)), cuts=st.lists(st.integers(1, 20), min_size=1))
def test_what_is_put_in_comes_out_however_the_stream_is_cut(
    bodies: list[bytes], cuts: list[int]
) -> None:
    stream, chunks, out = b"".join(map(chunk, bodies)), Chunks(), []
    at = turn = 0
    while at < len(stream):
        size = cuts[turn % len(cuts)]
        out += chunks.feed(memoryview(stream)[at : at + size])
        at, turn = at + size, turn + 1
    assert out == bodies
    assert chunks.feed(memoryview(chunk(b"next"))) == [b"next"]


def test_a_length_beyond_belief_is_garbage() -> None:
    with pytest.raises(ValueError, match="a chunk of"):
        Chunks().feed(memoryview((CHUNK_MAX + 1).to_bytes(4, "little")))
    chunks = Chunks()
    assert chunks.feed(memoryview(b"\xff\xff")) == []
    with pytest.raises(ValueError, match="a chunk of"):
        chunks.feed(memoryview(b"\xff\xff"))
