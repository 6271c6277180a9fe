"""A task that is cancelled on its way from the queue into the main thread is interrupted there."""

from __future__ import annotations

import contextlib
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from ray_on_dask.runtime import interrupts as module
from ray_on_dask.runtime.interrupts import Interrupts
from ray_on_dask.wire import messages as m

TASK = b"t" * 16


@pytest.fixture
def executor() -> Any:
    return SimpleNamespace(
        host=None, running=None, current_task=b"", main=threading.get_ident() + 1,
        take_queued=lambda wanted: [], lending=SimpleNamespace(interrupt=lambda: None),
    )  # fmt: skip


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    sent: list[int] = []
    fake = SimpleNamespace(pthread_kill=lambda thread, number: sent.append(thread), SIGUSR2=0)
    monkeypatch.setattr(module, "_signal", fake)
    return sent


def test_it_is_interrupted_when_it_has_begun(executor: Any, signals: list[int]) -> None:
    interrupts = Interrupts(executor)
    interrupts.on_cancel(None, m.Cancel(TASK))  # type: ignore[arg-type]
    interrupts.again()
    assert not signals
    executor.current_task = TASK
    interrupts.again()
    assert signals == [executor.main]
    with contextlib.suppress(KeyboardInterrupt):
        interrupts.check()
        pytest.fail("it is not interrupted")


def test_one_that_was_over_is_forgotten_after_a_while(
    executor: Any, signals: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupts = Interrupts(executor)
    interrupts.on_cancel(None, m.Cancel(TASK))  # type: ignore[arg-type]
    monkeypatch.setattr(module, "monotonic", lambda: interrupts._until + 0.1)
    interrupts.again()
    assert not interrupts.target and not signals
