"""How a node reaches others by their names."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ray_on_dask.plugins.dialer import Dialer


def test_a_node_that_is_dead_is_known_to_be_without_a_try_and_one_that_moved_is_found() -> None:
    dialer, connected = Dialer("here", lambda sender, message: None), []
    answers: list[Any] = ["tcp://a:1", "tcp://a:2", OSError("no answer"), LookupError("dead")]

    async def ask(what: str, **args: Any) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def connect(address: str) -> str:
        connected.append(address)
        return address

    async def main() -> None:
        dialer.ask, dialer.connect = ask, connect  # type: ignore[method-assign]
        for _ in range(3):  # the third time nobody answers, so it is tried where it was
            await dialer.dial("a")
        assert connected == ["tcp://a:1", "tcp://a:2", "tcp://a:2"]
        with pytest.raises(LookupError):
            await dialer.dial("a")
        assert len(connected) == 3

    asyncio.run(main())
