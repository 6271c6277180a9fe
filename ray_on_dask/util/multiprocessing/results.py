"""What the asynchronous calls of a pool give: results that are still to come."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from multiprocessing import TimeoutError
from typing import Any

import ray_on_dask as ray


class RemoteTraceback(Exception):
    """The cause of an error that a function has raised in a pool: where it did."""

    def __init__(self, text: str):
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


class Failure:
    """What a function has raised, on its way from an actor."""

    def __init__(self, error: BaseException, text: str):
        self.error = error
        self.text = text

    def raised(self) -> BaseException:
        """The error, with the traceback's text as its cause."""
        self.error.__cause__ = RemoteTraceback(self.text)
        return self.error


def fetch(ref: Any) -> list[Any]:
    """The results of one chunk, `Failure`s among them; one for all if its actor has died."""
    try:
        values: list[Any] = ray.get(ref)
        return values
    except Exception as error:
        return [Failure(error, str(error))]


class AsyncResult:
    """The result of `apply_async`, `map_async` or `starmap_async`.

    Parameters
    ----------
    refs : list of ObjectRef
        Of chunks of results.
    single : bool
        Whether the result is one value rather than a list.
    """

    def __init__(
        self, refs: list[Any], single: bool, callback: Callable[[Any], Any] | None = None,
        error_callback: Callable[[BaseException], Any] | None = None,
    ):  # fmt: skip
        self._refs = refs
        self._single = single
        self._callback = callback
        self._error_callback = error_callback
        self._left = len(refs)
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._error: BaseException | None = None
        self._value: Any = None
        if not refs:
            self._finish()
        for ref in refs:
            ref.future().add_done_callback(self._one_done)

    def _one_done(self, _: Any) -> None:
        with self._lock:
            self._left -= 1
            last = not self._left
        if last:
            self._finish()

    def _finish(self) -> None:
        values = [value for ref in self._refs for value in fetch(ref)]
        failures = [value for value in values if isinstance(value, Failure)]
        self._refs = []
        if failures:
            self._error = failures[0].raised()
        else:
            self._value = values[0] if self._single else values
        self._done.set()
        if self._error is not None:
            if self._error_callback is not None:
                self._error_callback(self._error)
        elif self._callback is not None:
            self._callback(self._value)

    def get(self, timeout: float | None = None) -> Any:
        """The result.

        Parameters
        ----------
        timeout : float, optional
            Seconds.

        Raises
        ------
        multiprocessing.TimeoutError
            If it is not there in time.
        Exception
            What the function has raised.
        """
        if not self._done.wait(timeout):
            raise TimeoutError
        if self._error is not None:
            raise self._error
        return self._value

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the result is there, or until so many seconds have gone."""
        self._done.wait(timeout)

    def ready(self) -> bool:
        """Whether the result is there."""
        return self._done.is_set()

    def successful(self) -> bool:
        """Whether nothing was raised; `ValueError` if the result is not there yet."""
        if not self.ready():
            raise ValueError(f"{self!r} not ready")
        return self._error is None


class ResultIterator:
    """Results of `imap` and `imap_unordered`: no more chunks are under way than are needed.

    Parameters
    ----------
    submit : callable
        Submits the next chunk: its ref, or None if there is none.
    ahead : int
        Chunks that are under way at a time.
    ordered : bool
    """

    def __init__(self, submit: Callable[[], Any], ahead: int, ordered: bool):
        self._submit = submit
        self._ordered = ordered
        self._refs: list[Any] = []
        self._values: deque[Any] = deque()
        for _ in range(ahead):
            self._submit_next()

    def _submit_next(self) -> None:
        ref = self._submit()
        if ref is not None:
            self._refs.append(ref)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return self.next()

    def next(self, timeout: float | None = None) -> Any:
        """The next result.

        Raises
        ------
        multiprocessing.TimeoutError
            If it is not there within so many seconds.
        StopIteration
            After the last.
        Exception
            What the function has raised for this item; the iteration may go on.
        """
        while not self._values:
            self._fetch(timeout)
        value = self._values.popleft()
        if isinstance(value, Failure):
            raise value.raised()
        return value

    def _fetch(self, timeout: float | None) -> None:
        if not self._refs:
            raise StopIteration
        candidates = self._refs[:1] if self._ordered else self._refs
        ready, _ = ray.wait(candidates, timeout=None if timeout is None else float(timeout))
        if not ready:
            raise TimeoutError
        self._refs.remove(ready[0])
        self._values.extend(fetch(ready[0]))
        self._submit_next()
