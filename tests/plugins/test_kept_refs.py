"""A ref is held for as long as Dask has, or is about to have, a key that is made of it."""

from __future__ import annotations

from typing import Any

from hypothesis import given, strategies as st

from ray_on_dask.plugins.kept_refs import KeptRefs
from ray_on_dask.wire.messages import Hold

#: What may happen to one of four keys, each of a ref of its own, of one of two clients.
events = st.tuples(
    st.sampled_from(["keep", "submit", "forget", "client_gone", "clear"]), st.integers(0, 3)
)


@given(st.lists(events, max_size=30))
def test_what_is_held_is_what_dask_may_still_make(happens: list[tuple[str, int]]) -> None:
    holds = [0, 0, 0, 0]

    def say(message: Any) -> None:
        if isinstance(message, Hold):
            holds[message.id[0]] += 1
        else:
            ((id, times),) = message.ids
            holds[id[0]] -= times

    kept = KeptRefs(say)
    promised: set[int] = set()
    there: set[int] = set()
    for what, n in happens:
        if what == "keep":
            kept.keep({n: bytes([n])}, str(n % 2))
            promised.add(n)
        elif what == "submit" and n in promised:
            there.add(n)
        elif what == "forget" and n in there:
            there.discard(n)
            promised.discard(n)
            kept.forgotten(n)
        elif what == "client_gone":
            gone = {x for x in promised if x % 2 == n % 2 and x not in there}
            kept.client_gone(str(n % 2), there)
            promised -= gone
        elif what == "clear":
            kept.clear()
            promised.clear()
            there.clear()
        assert holds == [int(x in promised) for x in range(4)]
        assert len(kept) == len(promised)


def test_a_key_that_is_none_of_ours_is_nothing_to_it() -> None:
    said: list[Any] = []
    KeptRefs(said.append).forgotten("x")
    assert said == []
