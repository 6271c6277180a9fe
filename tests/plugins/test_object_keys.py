"""When a node's stored objects become Dask keys, and that releases come after registrations."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ray_on_dask.core.stored_objects import Stored
from ray_on_dask.plugins.object_keys import AGE, BATCH, ObjectKeys
from ray_on_dask.wire.messages import Located


def stored(number: int) -> Stored:
    id = number.to_bytes(20, "big")
    return Stored(id, Located("node", "/file", 0, 10), f"put-{id.hex()}", "writer")


Said = list[tuple[list[str], list[str]]]


def with_keys(test: Callable[[ObjectKeys, Said, list[float]], None]) -> None:
    """Run `test` with keys, what they announce, and a clock."""

    async def main() -> None:
        said: list[tuple[list[str], list[str]]] = []
        clock = [0.0]
        keys = ObjectKeys(lambda new, gone: said.append((list(new), gone)), lambda: clock[0])
        test(keys, said, clock)
        keys.close()

    asyncio.run(main())


def test_an_object_is_announced_when_it_has_lived_for_a_moment() -> None:
    def test(keys, said, clock):  # type: ignore[no-untyped-def]
        keys.changed([stored(1)], [])
        assert keys.flush(AGE / 2) and said == []
        assert not keys.flush(AGE)
        assert said == [([stored(1).key], [])]

    with_keys(test)


def test_an_object_that_goes_before_is_never_announced() -> None:
    def test(keys, said, clock):  # type: ignore[no-untyped-def]
        keys.changed([stored(1)], [])
        keys.changed([], [stored(1).id])
        assert not keys.flush(AGE)
        assert said == []

    with_keys(test)


def test_a_release_follows_its_registration_even_if_batches_are_full() -> None:
    def test(keys, said, clock):  # type: ignore[no-untyped-def]
        many = [stored(i) for i in range(3 * BATCH)]
        keys.changed(many, [])
        keys.flush(AGE)
        keys.changed([], [x.id for x in many[: BATCH + 5]])
        while keys.flush(AGE):
            pass
        registered: set[str] = set()
        for new, gone in said:
            assert len(new) <= BATCH and len(gone) <= BATCH
            registered |= set(new)
            assert set(gone) <= registered
            registered -= set(gone)
        assert registered == {x.key for x in many[BATCH + 5 :]}
        assert keys.stats() == {"keys": 2 * BATCH - 5, "waiting": 0}

    with_keys(test)


def test_a_node_that_leaves_announces_all_it_has_and_says_when_that_is_done() -> None:
    async def main() -> None:
        said: list[list[str]] = []
        keys = ObjectKeys(lambda new, gone: said.append(list(new)))
        done = asyncio.Event()
        keys.changed([stored(1)], [])
        keys.hurry(True, done.set)
        await asyncio.wait_for(done.wait(), AGE / 2)
        assert said == [[stored(1).key]]
        keys.changed([stored(2)], [])
        await asyncio.sleep(AGE / 4)
        assert said[1:] == [[stored(2).key]], "and what comes later at once"
        keys.hurry(False)
        keys.changed([stored(3)], [])
        await asyncio.sleep(AGE / 4)
        assert len(said) == 2, "it stays after all"
        keys.close()

    asyncio.run(main())


def test_a_key_that_is_announced_anew_is_released_with_its_object() -> None:
    """As a node that is about to leave does: Dask may have dropped its own replica."""

    def test(keys, said, clock):  # type: ignore[no-untyped-def]
        keys.changed([stored(1)], [])
        keys.flush(AGE)
        keys.changed([stored(1)], [])
        keys.changed([], [stored(1).id])
        assert not keys.flush(2 * AGE)
        assert said == [([stored(1).key], []), ([], [stored(1).key])]

    with_keys(test)


def test_objects_are_announced_after_one_that_dask_did_not_take() -> None:
    refused: list[str] = []
    said: list[str] = []

    def announce(new: dict[str, Stored], gone: list[str]) -> None:
        if not refused:
            refused.extend(new)
            raise ValueError("the worker is about to close, say")
        said.extend(new)

    async def story() -> None:
        keys = ObjectKeys(announce)
        keys.hurry(True)
        keys.changed([stored(1)], [])
        while not refused:
            await asyncio.sleep(0.01)
        keys.changed([stored(2)], [])
        while not said:
            await asyncio.sleep(0.01)
        keys.close()

    asyncio.run(asyncio.wait_for(story(), 10))
    assert said == [stored(2).key]
