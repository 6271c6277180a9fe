"""`within`: a limit, and a cancellation that is not lost."""

from __future__ import annotations

import asyncio

import pytest

from ray_on_dask.runtime.within import within


def test_it_gives_the_result_or_the_error() -> None:
    async def one() -> int:
        return 1

    async def wrong() -> int:
        raise KeyError("k")

    async def main() -> None:
        assert await within(5, one()) == 1
        with pytest.raises(KeyError):
            await within(5, wrong())

    asyncio.run(main())


def test_after_the_limit_what_it_waited_for_is_cancelled() -> None:
    async def main() -> None:
        future = asyncio.get_running_loop().create_future()
        with pytest.raises(asyncio.TimeoutError):
            await within(0.01, future)
        assert future.cancelled()

    asyncio.run(main())


def test_who_is_cancelled_in_the_moment_of_the_answer_is_cancelled() -> None:
    async def main() -> None:
        future = asyncio.get_running_loop().create_future()
        waiting = asyncio.ensure_future(within(5, future))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        future.set_result(1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(main())
