"""What is freed while it is read is given back when it is not."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given, settings, strategies as st

from ray_on_dask.core.freeing import Freeing
from ray_on_dask.core.pins import Pins

IDS = [b"a", b"b", b"c"]
PROCESSES = ["p", "q"]


def test_what_nobody_reads_goes_when_all_have_answered() -> None:
    freeing = Freeing(Pins())
    round = freeing.ask([b"a", b"b"], PROCESSES)
    assert freeing.answered("p", round) == []
    freeing.pins.opened("q", b"b")
    assert freeing.answered("q", round) == [b"a", b"b"]
    assert freeing.free([b"a", b"b"]) == [b"a"]
    assert freeing.unpinned(freeing.pins.closed("q", [b"b"])) == [b"b"]
    assert freeing.answered("q", round) == []


def test_who_dies_has_answered() -> None:
    freeing = Freeing(Pins())
    rounds = [freeing.ask([id], PROCESSES) for id in IDS]
    assert freeing.answered("p", rounds[1]) == []
    assert freeing.gone("q") == [b"b"]
    assert freeing.gone("p") == [b"a", b"c"]


events = st.lists(
    st.tuples(
        st.sampled_from(["open", "close", "free", "ask", "answer", "gone"]),
        st.sampled_from(IDS), st.sampled_from(PROCESSES),
    ),
    max_size=40,
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(events)
def test_nothing_that_is_read_is_given_back_and_all_else_that_was_freed_is(
    events: list[tuple[str, bytes, str]],
) -> None:
    freeing, freed, wanted = Freeing(Pins()), set[bytes](), set[bytes]()
    pins = freeing.pins

    def given_back(ids: Iterable[bytes]) -> None:
        for id in ids:
            assert id not in pins
            freed.add(id)

    def free(ids: Iterable[bytes]) -> None:
        given_back(freeing.free(ids))

    for what, id, process in events:
        if what == "open" and id not in wanted:
            pins.opened(process, id)
        elif what == "close":
            given_back(freeing.unpinned(pins.closed(process, [id])))
        elif what == "free":
            wanted.add(id)
            free([id])
        elif what == "ask":
            wanted.add(id)
            freeing.ask([id], PROCESSES)
        elif what == "answer":
            for round in list(freeing.rounds):
                free(freeing.answered(process, round))
        else:
            given_back(freeing.unpinned(pins.gone(process)))
            free(freeing.gone(process))
        freeing.validate()
    for process in PROCESSES:
        given_back(freeing.unpinned(pins.gone(process)))
        free(freeing.gone(process))
    assert freed == wanted and not freeing.doomed and not freeing.rounds
