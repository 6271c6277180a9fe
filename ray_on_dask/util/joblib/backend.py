"""The joblib backend: each batch of calls is a task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from joblib.parallel import AutoBatchingMixin, ParallelBackendBase

import ray_on_dask as ray


class RayBackend(AutoBatchingMixin, ParallelBackendBase):
    """Runs batches as tasks; the cluster's CPUs say how many at a time.

    Parameters
    ----------
    ray_remote_args : dict, optional
        Options of the tasks, such as ``{"num_cpus": 2}``.
    """

    supports_retrieve_callback = True
    default_n_jobs = -1

    def __init__(
        self, nesting_level: int | None = None, inner_max_num_threads: int | None = None,
        ray_remote_args: dict[str, Any] | None = None, **backend_kwargs: Any,
    ):  # fmt: skip
        super().__init__(
            nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads,
            **backend_kwargs,
        )  # fmt: skip
        self._options = ray_remote_args or {}
        self._task: Any = None
        self._refs: set[Any] = set()

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """How many batches run at a time; negative numbers count down from the cluster's CPUs."""
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if not ray.is_initialized():
            ray.init()
        cpus = max(1, int(ray.cluster_resources().get("CPU", 1)))
        if n_jobs is None:
            return cpus
        return n_jobs if n_jobs > 0 else max(1, cpus + 1 + n_jobs)

    def configure(
        self, n_jobs: int = 1, parallel: Any = None, prefer: Any = None, require: Any = None,
        **_: Any,
    ) -> int:  # fmt: skip
        """Get ready for a `Parallel`; how many batches will run at a time."""
        self.parallel = parallel
        task = ray.remote(_run)
        self._task = task.options(**self._options) if self._options else task
        return self.effective_n_jobs(n_jobs)

    def submit(self, func: Callable[[], Any], callback: Callable[[Any], Any] | None = None) -> Any:
        """Run a batch; the callback gets its future when it is done."""
        ref = self._task.remote(func)
        self._refs.add(ref)
        future = ref.future()
        future.add_done_callback(lambda _: self._refs.discard(ref))
        if callback is not None:
            future.add_done_callback(callback)
        return future

    apply_async = submit

    def retrieve_result_callback(self, out: Any) -> Any:
        """The results of a batch that is done; raises what one of its calls has raised."""
        return out.result()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """Cancel what is under way: a call has failed."""
        for ref in list(self._refs):
            ray.cancel(ref)
        self._refs.clear()

    def terminate(self) -> None:
        """The `Parallel` is done."""
        self._refs.clear()
        self.reset_batch_stats()


def _run(batch: Callable[[], Any]) -> Any:
    return batch()
