"""Progress bars of tasks and actors, drawn together on the driver's terminal.

A task tells how far it is in a line of its output that begins with a mark of its own; the driver
takes these out of what it prints and draws one bar for each.

Examples
--------
>>> from ray_on_dask.experimental.tqdm_ray import tqdm
>>> @ray.remote                             # doctest: +SKIP
... def train(epochs):
...     for _ in tqdm(range(epochs), desc="epochs"):
...         ...
"""

from __future__ import annotations

import builtins
import json
import sys
import time
import uuid
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from ray_on_dask.runtime import current, progress

T = TypeVar("T")


class tqdm:
    """A progress bar, shown by the driver wherever it is advanced.

    Parameters
    ----------
    iterable : iterable, optional
        Iterating over the bar iterates over this, and advances the bar.
    desc : str, optional
        What stands before the bar.
    total : int, optional
        How much there is to do; by default the iterable's length, if it has one.
    unit : str, optional
        What is counted, "it" by default.
    position : int, optional
        Bars with a lower one stand above the others; by default in the order in which they begin.
    flush_interval_s : float, optional
        Seconds between two updates of what is shown, 1 by default.
    """

    DEFAULT_FLUSH_INTERVAL_SECONDS = 1.0

    def __init__(
        self,
        iterable: Iterable[Any] | None = None,
        desc: str | None = None,
        total: int | None = None,
        unit: str | None = None,
        position: int | None = None,
        flush_interval_s: float | None = None,
    ):
        if total is None and iterable is not None:
            length = getattr(iterable, "__len__", None)
            total = None if length is None else length()
        default = self.DEFAULT_FLUSH_INTERVAL_SECONDS
        self._iterable = iterable
        self._state = progress.State(uuid.uuid4().hex, desc or "", total, unit or "it", position)
        self._interval = default if flush_interval_s is None else flush_interval_s
        self._shown_at = 0.0
        self.refresh()

    @property
    def n(self) -> int:
        """How much is done."""
        return self._state.done

    @property
    def total(self) -> int | None:
        """How much there is to do, if that is known."""
        return self._state.total

    @total.setter
    def total(self, total: int | None) -> None:
        self._state.total = total

    def set_description(self, desc: str) -> None:
        """Change what stands before the bar."""
        self._state.description = desc
        self.refresh()

    def update(self, n: int = 1) -> None:
        """`n` more is done."""
        self._state.done += n
        if time.monotonic() - self._shown_at >= self._interval:
            self.refresh()

    def refresh(self) -> None:
        """Show the bar as it is now."""
        self._shown_at = time.monotonic()
        _show(self._state)

    def close(self) -> None:
        """The bar is not needed any more."""
        if not self._state.closed:
            self._state.closed = True
            self.refresh()

    def __iter__(self) -> Iterator[Any]:
        if self._iterable is None:
            raise ValueError("this progress bar was made without an iterable")
        try:
            for item in self._iterable:
                yield item
                self.update(1)
        finally:
            self.close()

    def __enter__(self) -> tqdm:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"tqdm({self._state.text()})"


def safe_print(*args: Any, **kwargs: Any) -> None:
    """Print without spoiling the bars; in tasks plain `print` does not spoil them either."""
    with progress.bars.hidden():
        builtins.print(*args, **kwargs)


def _show(state: progress.State) -> None:
    process = current.process
    if process is None or process.kind == "driver":
        progress.bars.take(state)
    else:
        sys.stdout.write(progress.MARK + json.dumps(state.packed()) + "\n")
        sys.stdout.flush()
