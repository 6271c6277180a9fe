"""A gateway that is gone before the control store has let it in is not let in."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from ray_on_dask.plugins.control_line import ControlLine
from ray_on_dask.plugins.gateways import Gateways

FACTS = {
    "name": "g", "ip": "", "hostname": "", "host": "", "hub": "", "shm": "", "session_dir": "",
    "pid": 1, "resources": {},
}  # fmt: skip


@pytest.mark.parametrize("closed", [False, True], ids=["there", "gone"])
def test_only_a_gateway_that_is_there_is_let_in(closed: bool) -> None:
    up: list[str] = []
    store = SimpleNamespace(
        gateways=SimpleNamespace(
            up=lambda facts, now: up.append(facts.name),
            down=lambda name, why, now: up.remove(name) or [],  # type: ignore[func-returns-value]
        )
    )
    plugin: Any = SimpleNamespace(
        store=store, now=lambda: 0.0, up=lambda sender, message: None, dispatch=lambda out: None
    )
    gateways = Gateways(plugin)
    line = ControlLine(SimpleNamespace(ended=lambda line: None), 1)  # type: ignore[arg-type]
    line.executor = msgspec.json.encode(FACTS).decode()
    if closed:
        line.close()

    asyncio.run(gateways.relay._join(line))

    assert up == ([] if closed else ["g"])
    assert list(gateways.lines) == up
