"""The latest lines of executors: what is kept, and that it is bounded."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from ray_on_dask.core import log_tail
from ray_on_dask.core.log_tail import LogTails
from ray_on_dask.wire.messages import LogLines


def lines(pid: int, *texts: str, error: bool = False, job: int = 1) -> LogLines:
    return LogLines(job, "f", pid, "ip", list(texts), error)


def test_lines_are_read_from_a_number_on() -> None:
    tails = LogTails()
    tails.take("n", lines(1, "a", "b"))
    tails.take("n", lines(1, "c", error=True))
    found = tails.read("n", 1)
    assert found == {"next": 3, "lines": [["f", "a", False], ["f", "b", False], ["f", "c", True]]}
    assert tails.read("n", 1, after=2)["lines"] == [["f", "c", True]]
    assert tails.read("n", 1, after=3)["lines"] == []
    assert tails.listed() == [
        {"node": "n", "pid": 1, "job": 1, "lines": 3, "out": True, "err": True}
    ]
    with pytest.raises(KeyError, match="process 2"):
        tails.read("n", 2)


def test_numbers_go_on_when_old_lines_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_tail, "LINES_MAX", 3)
    tails = LogTails()
    tails.take("n", lines(1, *"abcde"))
    found = tails.read("n", 1, after=4)
    assert (found["next"], found["lines"]) == (5, [["f", "e", False]])
    assert len(tails.read("n", 1)["lines"]) == 3


@given(st.lists(st.tuples(st.integers(1, 4), st.text(max_size=300)), max_size=60))
def test_bytes_are_bounded_and_the_silent_go_first(printed: list[tuple[int, str]]) -> None:
    limit, log_tail.BYTES_MAX = log_tail.BYTES_MAX, 2_000
    try:
        tails = LogTails()
        for pid, text in printed:
            tails.take("n", lines(pid, text))
            tails.validate()
            assert tails.bytes <= 2_000
            assert tails.read("n", pid)["lines"][-1][1] == text
    finally:
        log_tail.BYTES_MAX = limit
