"""What tests of programs use: signals between tasks, conditions, drivers as processes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import ray_on_dask as ray


@ray.remote(num_cpus=0)
class SignalActor:
    """Tasks wait for it until somebody sends it.

    Examples
    --------
    >>> signal = SignalActor.remote()
    >>> waiting = signal.wait.remote()
    >>> _ = signal.send.remote()
    >>> ray.get(waiting)
    """

    def __init__(self) -> None:
        self.ready_event = asyncio.Event()
        self.num_waiters = 0

    def send(self, clear: bool = False) -> None:
        """Let all go on that wait; with ``clear``, those that come later wait again."""
        self.ready_event.set()
        if clear:
            self.ready_event.clear()

    async def wait(self, should_wait: bool = True) -> None:
        """Return once the signal is sent."""
        if should_wait:
            self.num_waiters += 1
            try:
                await self.ready_event.wait()
            finally:
                self.num_waiters -= 1

    async def cur_num_waiters(self) -> int:
        """How many wait now."""
        return self.num_waiters


@ray.remote(num_cpus=0)
class Semaphore:
    """Lets no more than ``value`` tasks go on at a time."""

    def __init__(self, value: int = 1):
        self._semaphore = asyncio.Semaphore(value)

    async def acquire(self) -> None:
        """Return once it is this caller's turn."""
        await self._semaphore.acquire()

    async def release(self) -> None:
        """Let the next one go on."""
        self._semaphore.release()

    async def locked(self) -> bool:
        """Whether `acquire` would wait."""
        return self._semaphore.locked()


def wait_for_condition(
    condition_predictor: Callable[..., Any],
    timeout: float = 10,
    retry_interval_ms: float = 100,
    raise_exceptions: bool = False,
    **kwargs: Any,
) -> None:
    """Return as soon as a condition is true.

    Parameters
    ----------
    condition_predictor : callable
        Asked again and again, with ``kwargs``.
    timeout : float
        Seconds.
    retry_interval_ms : float
        Milliseconds between two questions.
    raise_exceptions : bool
        Let the condition's own exceptions out; they else count as "not yet".

    Raises
    ------
    RuntimeError
        If it is not true in time; the condition's last exception is its cause.
    """
    deadline = time.monotonic() + timeout
    error: Exception | None = None
    while time.monotonic() <= deadline:
        try:
            if condition_predictor(**kwargs):
                return
            error = None
        except Exception as raised:
            if raise_exceptions:
                raise
            error = raised
        time.sleep(retry_interval_ms / 1000)
    raise RuntimeError(f"The condition was not met within {timeout} s.") from error


def run_string_as_driver(
    driver_script: str,
    env: dict[str, str] | None = None,
    encode: str = "utf-8",
    timeout: float | None = 300,
) -> str:
    """Run a program in a process of its own; what it has printed, stderr included.

    Parameters
    ----------
    driver_script : str
        Its source.
    env : dict, optional
        Environment variables beside those of this process.
    encode : str
        The encoding of source and output.
    timeout : float, optional
        Seconds.

    Raises
    ------
    subprocess.CalledProcessError
        If it fails, with what it has printed.
    subprocess.TimeoutExpired
        If it does not end in time; it is killed.
    """
    done = subprocess.run(
        [sys.executable, "-"], input=driver_script.encode(encode), stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, env={**os.environ, **(env or {})}, timeout=timeout,
    )  # fmt: skip
    text = done.stdout.decode(encode)
    if done.returncode:
        print(text, file=sys.stderr)
        raise subprocess.CalledProcessError(done.returncode, done.args, text)
    return text
