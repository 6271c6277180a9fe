"""`Pool`: the interface of `multiprocessing.Pool` over actors."""

from __future__ import annotations

import itertools
import os
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import ray_on_dask as ray
from ray_on_dask.util.multiprocessing.results import AsyncResult, Failure, ResultIterator

#: Chunks for each process that `map` makes if it is not told otherwise.
CHUNKS = 4
#: Chunks for each process that `imap` has under way.
AHEAD = 2


class _Runner:
    """The actor that is one process of a pool."""

    def __init__(self, initializer: Callable[..., Any] | None, initargs: tuple[Any, ...]):
        if initializer is not None:
            initializer(*initargs)

    def run(self, function: Callable[..., Any], calls: list[Any]) -> list[Any]:
        """Call a function with each of (args, kwargs)."""
        return [self._call(function, args, kwargs) for args, kwargs in calls]

    @staticmethod
    def _call(function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            return Failure(_picklable(error), traceback.format_exc())


def _picklable(error: Exception) -> Exception:
    import cloudpickle

    try:
        cloudpickle.loads(cloudpickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


class _Worker:
    """A process, as the pool knows it."""

    def __init__(self, actor: Any):
        self.actor = actor
        self.chunks = 0
        #: Refs of chunks that may still be under way.
        self.busy: list[Any] = []

    def load(self) -> int:
        """How many chunks it has to do."""
        if self.busy:
            _, self.busy = ray.wait(self.busy, num_returns=len(self.busy), timeout=0)
        return len(self.busy)


class Pool:
    """A pool of processes, each an actor.

    Parameters
    ----------
    processes : int, optional
        Default: the CPUs of the cluster.
    initializer : callable, optional
        Called in each process first, with ``initargs``.
    maxtasksperchild : int, optional
        Chunks of work after which a process is replaced.
    context
        Accepted; processes are started as the cluster does.
    ray_address : str, optional
        For `init`, if there is no session yet.
    ray_remote_args : dict, optional
        Options of the actors, such as ``{"num_cpus": 1}``.

    Raises
    ------
    ValueError
        For fewer processes than one, and for more than the cluster has CPUs.

    Examples
    --------
    >>> from ray_on_dask.util.multiprocessing import Pool
    >>> with Pool(2) as pool:
    ...     pool.map(abs, [-1, 2])
    [1, 2]
    """

    def __init__(
        self,
        processes: int | None = None,
        initializer: Callable[..., Any] | None = None,
        initargs: Iterable[Any] | None = None,
        maxtasksperchild: int | None = None,
        context: Any = None,
        ray_address: str | None = None,
        ray_remote_args: dict[str, Any] | None = None,
    ):
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        self._initializer, self._initargs = initializer, tuple(initargs or ())
        self._most_chunks = maxtasksperchild
        self._options = {"num_cpus": 0, **(ray_remote_args or {})}
        self._processes = _processes(processes, ray_address)
        self._runner = ray.remote(_Runner)
        self._workers = [self._new_worker() for _ in range(self._processes)]
        self._retired: list[_Worker] = []
        self._closed = False
        self._submitting = threading.Lock()

    def _new_worker(self) -> _Worker:
        actor = self._runner.options(**self._options).remote(self._initializer, self._initargs)
        return _Worker(actor)

    # -- one call ----------------------------------------------------------------------

    def apply(
        self, func: Callable[..., Any], args: Iterable[Any] | None = None,
        kwds: dict[str, Any] | None = None, *, kwargs: dict[str, Any] | None = None,
    ) -> Any:  # fmt: skip
        """Call a function in a process of the pool; its result. Raises what it raises."""
        return self.apply_async(func, args, kwds or kwargs).get()

    def apply_async(
        self,
        func: Callable[..., Any],
        args: Iterable[Any] | None = None,
        kwds: dict[str, Any] | None = None,
        callback: Callable[[Any], Any] | None = None,
        error_callback: Callable[[BaseException], Any] | None = None,
        *,
        kwargs: dict[str, Any] | None = None,
    ) -> AsyncResult:
        """As `apply`, without waiting; a callback gets the result or the error, in a thread."""
        self._check_running()
        ref = self._submit(func, [(tuple(args or ()), kwds or kwargs or {})])
        return AsyncResult([ref], True, callback, error_callback)

    # -- many ----------------------------------------------------------------------------

    def map(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int | None = None
    ) -> list[Any]:
        """The results of calls with each item, in order; raises the first error."""
        return self.map_async(func, iterable, chunksize).get()

    def map_async(
        self,
        func: Callable[[Any], Any],
        iterable: Iterable[Any],
        chunksize: int | None = None,
        callback: Callable[[list[Any]], Any] | None = None,
        error_callback: Callable[[BaseException], Any] | None = None,
    ) -> AsyncResult:
        """As `map`, without waiting."""
        calls: list[Any] = [((item,), {}) for item in iterable]
        return self._all(func, calls, chunksize, callback, error_callback)

    def starmap(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Sequence[Any]],
        chunksize: int | None = None,
    ) -> list[Any]:
        """As `map`; each item is a sequence of arguments."""
        return self.starmap_async(func, iterable, chunksize=chunksize).get()

    def starmap_async(
        self,
        func: Callable[..., Any],
        iterable: Iterable[Sequence[Any]],
        callback: Callable[[list[Any]], Any] | None = None,
        error_callback: Callable[[BaseException], Any] | None = None,
        chunksize: int | None = None,
    ) -> AsyncResult:
        """As `starmap`, without waiting."""
        calls: list[Any] = [(tuple(item), {}) for item in iterable]
        return self._all(func, calls, chunksize, callback, error_callback)

    def imap(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int | None = 1
    ) -> ResultIterator:
        """As `map`, as an iterator; items are taken as results are."""
        return self._iterate(func, iterable, chunksize or 1, True)

    def imap_unordered(
        self, func: Callable[[Any], Any], iterable: Iterable[Any], chunksize: int | None = 1
    ) -> ResultIterator:
        """As `imap`; results come as they are ready."""
        return self._iterate(func, iterable, chunksize or 1, False)

    def _all(
        self, func: Any, calls: list[Any], chunksize: int | None, callback: Any, error_callback: Any
    ) -> AsyncResult:
        self._check_running()
        size = chunksize or max(1, -(-len(calls) // (CHUNKS * self._processes)))
        function = ray.put(func)
        refs = [self._submit(function, chunk) for chunk in _chunks(iter(calls), size)]
        return AsyncResult(refs, False, callback, error_callback)

    def _iterate(
        self, func: Any, iterable: Iterable[Any], chunksize: int, ordered: bool
    ) -> ResultIterator:
        self._check_running()
        function = ray.put(func)
        chunks = _chunks((((item,), {}) for item in iterable), chunksize)

        def submit() -> Any:
            chunk = next(chunks, None)
            return None if chunk is None else self._submit(function, chunk)

        return ResultIterator(submit, AHEAD * self._processes, ordered)

    def _submit(self, function: Any, calls: list[Any]) -> Any:
        with self._submitting:  # any thread may submit, as with `multiprocessing`
            worker = min(self._workers, key=_Worker.load)
            if self._most_chunks and worker.chunks >= self._most_chunks:
                self._retired.append(worker)
                fresh = self._new_worker()
                self._workers[self._workers.index(worker)] = worker = fresh
            worker.chunks += 1
            ref = worker.actor.run.remote(function, calls)
            worker.busy.append(ref)
            return ref

    # -- the end -----------------------------------------------------------------------------

    def _check_running(self) -> None:
        if self._closed:
            raise ValueError("Pool not running")

    def close(self) -> None:
        """Take no more work; what has been submitted is done."""
        self._closed = True

    def terminate(self) -> None:
        """End all processes now."""
        self._closed = True
        for worker in [*self._workers, *self._retired]:
            ray.kill(worker.actor)

    def join(self) -> None:
        """Wait until all work is done and the processes have ended.

        Raises
        ------
        ValueError
            Before `close` or `terminate`.
        """
        if not self._closed:
            raise ValueError("Pool is still running")
        workers, self._workers, self._retired = [*self._workers, *self._retired], [], []
        refs = [ref for worker in workers for ref in worker.busy]
        if refs:
            ray.wait(refs, num_returns=len(refs))

    def __enter__(self) -> Pool:
        self._check_running()
        return self

    def __exit__(self, *exception: object) -> None:
        self.terminate()


def _processes(wanted: int | None, address: str | None) -> int:
    if wanted is not None and wanted < 1:
        raise ValueError("Processes in the pool must be >0.")
    if not ray.is_initialized():
        address = address or os.environ.get("RAY_ADDRESS")
        if address is None:
            ray.init(num_cpus=wanted)
        else:
            ray.init(address)
    cpus = int(ray.cluster_resources().get("CPU", 0))
    if wanted is None:
        return max(1, cpus)
    if wanted > cpus:
        raise ValueError(f"Tried to start a pool with {wanted} processes on {cpus} CPUs.")
    return wanted


def _chunks(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    while chunk := list(itertools.islice(items, size)):
        yield chunk
