"""Nodes that are retired go when their objects are known to be with others."""

from __future__ import annotations

import asyncio

import pytest

from ray_on_dask.core.control import HANDED_OVER, LAST_MOMENT, ControlStore
from ray_on_dask.core.instructions import Send
from ray_on_dask.core.members import NodeFacts
from ray_on_dask.plugins import handing_over
from ray_on_dask.plugins.errors import make_error
from ray_on_dask.plugins.handing_over import HandingOver, id_of_key
from ray_on_dask.wire import messages as m

KEYS = {f"make-{number:040x}": number.to_bytes(20, "big") for number in (1, 2)}


def cluster(*names: str) -> ControlStore:
    store = ControlStore(make_error)
    for name in names:
        facts = NodeFacts(name, f"tcp://{name}", "", "", "", "", "", "", 1, {"CPU": 10_000})
        store.node_up(facts, 0.0)
    return store


def copied(store: ControlStore, node: str, id: bytes, home: str) -> None:
    store.handle(node, m.Copied(id, m.Located(node, "file", 0, 10), home), 1.0)


def test_a_node_is_asked_to_make_its_objects_known_and_waited_for() -> None:
    async def main() -> None:
        store, said = cluster("a"), []
        handing = HandingOver(store, said.extend, lambda key: True)
        asking = asyncio.ensure_future(handing.make_known(["a"]))
        await asyncio.sleep(0)
        assert said == [Send("a", m.HandOver(True))] and not asking.done()
        store.extra["all_known"]("a")
        await asyncio.wait_for(asking, 5)
        handing.stays("a")
        assert said[1:] == [Send("a", m.HandOver(False))]
        handing.stays("a")
        assert len(said) == 2

    asyncio.run(main())


def test_a_node_goes_when_nodes_that_stay_have_its_objects() -> None:
    async def main() -> None:
        store, keys = cluster("a", "b", "c"), dict(KEYS)
        handing = HandingOver(store, lambda out: None, keys.__contains__)
        store.retiring |= {"a": HANDED_OVER, "b": HANDED_OVER}
        waiting = asyncio.ensure_future(handing.arrived({"a": [*KEYS, "other", "x-y"]}))
        await asyncio.sleep(0.05)
        (_, one), (second, _) = KEYS.items()
        copied(store, "b", one, "a")  # which is about to go as well
        await asyncio.sleep(0.05)
        assert not waiting.done()
        copied(store, "c", one, "a")
        await asyncio.sleep(0.05)
        assert not waiting.done()
        del keys[second]  # it is garbage by now
        await asyncio.wait_for(waiting, 5)
        assert store.retiring == {"a": LAST_MOMENT, "b": HANDED_OVER}

    asyncio.run(main())


def test_it_goes_too_when_nobody_takes_its_objects_and_people_are_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(handing_over, "PATIENCE", 0.05)

    async def main() -> None:
        handing = HandingOver(cluster("a", "b"), lambda out: None, lambda key: True)
        await asyncio.wait_for(handing.arrived({"a": list(KEYS)}), 5)

    asyncio.run(main())
    assert "2 objects" in caplog.text


def test_keys_of_others_are_no_objects() -> None:
    assert id_of_key(f"a-b-{b'x'.hex()}") == b"x"
    assert id_of_key("sum-part-xyz") == b""
