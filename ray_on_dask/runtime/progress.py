"""Progress bars on the driver's terminal, of whichever process they are.

On a terminal or in a notebook they are drawn by `rich`, below what is printed; anywhere else (a
log file, a pipe) each gets a line of text at most every ten seconds, and one at its end.
"""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

#: Begins a line of a task's output that is the state of a bar, not text.
MARK = "\x1f"
#: Seconds between two lines of one bar where bars cannot be drawn.
LINE_EVERY = 10.0


@dataclass
class State:
    """A bar as it is at some moment."""

    id: str
    description: str
    total: int | None
    unit: str
    position: int | None
    done: int = 0
    closed: bool = False

    def packed(self) -> list[Any]:
        """As it travels."""
        return [
            self.id, self.description, self.total, self.unit, self.position, self.done,
            self.closed,
        ]  # fmt: skip

    def text(self) -> str:
        """In words: ``epochs: 3/10 it``."""
        of = "" if self.total is None else f"/{self.total}"
        return f"{self.description or 'progress'}: {self.done}{of} {self.unit}"


class Bars:
    """The bars of this driver's session. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._drawn: Any = None
        #: {bar's id: its number in what is drawn}.
        self._numbers: dict[str, Any] = {}
        #: {bar's id: when it last had a line of text}.
        self._told: dict[str, float] = {}

    def take_line(self, line: str) -> bool:
        """Take a line of a task's output if it is the state of a bar; whether it was one."""
        if not line.startswith(MARK):
            return False
        with contextlib.suppress(ValueError, TypeError):
            self.take(State(*json.loads(line[len(MARK) :])))
        return True

    def take(self, state: State) -> None:
        """Show a bar as it is now."""
        with self._lock:
            if self._can_draw():
                self._draw(state)
            else:
                self._tell(state)

    @staticmethod
    def _can_draw() -> bool:
        shell = sys.modules.get("IPython")
        in_notebook = shell is not None and hasattr(shell.get_ipython(), "kernel")
        return sys.stderr is not None and (sys.stderr.isatty() or in_notebook)

    def _draw(self, state: State) -> None:
        number = self._numbers.get(state.id)
        if number is None:
            if state.closed:
                return
            number = self._numbers[state.id] = self._start().add_task(
                state.description, total=state.total, unit=state.unit
            )
        self._drawn.update(
            number, completed=state.done, total=state.total, description=state.description
        )
        if state.closed:
            self._end(state.id, number)

    def _start(self) -> Any:
        if self._drawn is None:
            from rich import progress as rich
            from rich.console import Console

            self._drawn = rich.Progress(
                rich.TextColumn("{task.description}"), rich.BarColumn(),
                rich.MofNCompleteColumn(), rich.TextColumn("{task.fields[unit]}"),
                rich.TimeElapsedColumn(), rich.TimeRemainingColumn(),
                console=Console(stderr=True), redirect_stdout=False, redirect_stderr=False,
            )  # fmt: skip
            self._drawn.start()
        return self._drawn

    def _end(self, id: str, number: Any) -> None:
        del self._numbers[id]
        self._drawn.stop_task(number)
        if not self._numbers:
            self.close()

    def _tell(self, state: State) -> None:
        now = time.monotonic()
        if not state.closed and now - self._told.get(state.id, -LINE_EVERY) < LINE_EVERY:
            return
        self._told[state.id] = now
        if state.closed:
            del self._told[state.id]
        sys.stderr.write(state.text() + (" (ended)" if state.closed else "") + "\n")

    @contextlib.contextmanager
    def hidden(self) -> Iterator[None]:
        """No bars are on the terminal meanwhile."""
        with self._lock:
            drawn = self._drawn
            if drawn is not None:
                drawn.stop()
            try:
                yield
            finally:
                if drawn is not None and drawn is self._drawn:
                    drawn.start()

    def close(self) -> None:
        """No bar is needed any more; what is drawn stays as it is."""
        with self._lock:
            drawn, self._drawn = self._drawn, None
            self._numbers.clear()
            self._told.clear()
            if drawn is not None:
                drawn.stop()


#: Those of this process.
bars = Bars()
