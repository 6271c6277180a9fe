"""Waiting in an event loop, with a limit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def within(seconds: float, awaited: Awaitable[T]) -> T:
    """What is awaited, or `asyncio.TimeoutError` after so many seconds; then it is cancelled.

    Who is cancelled while he waits is cancelled: `asyncio.wait_for` forgets it, before Python 3.12,
    if what it waits for comes in the same moment.
    """
    future = asyncio.ensure_future(awaited)
    try:
        await asyncio.wait({future}, timeout=seconds)
        if not future.done():
            raise asyncio.TimeoutError
        return future.result()
    finally:
        if not future.cancel() and not future.cancelled():
            future.exception()  # or it would be said that nobody looked at it
