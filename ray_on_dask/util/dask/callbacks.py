"""Hooks around the tasks that a Dask graph becomes: Ray's `RayDaskCallback`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, NamedTuple

from dask.callbacks import Callback

#: What may be hooked in, in the order of the fields below.
HOOKS = (
    "ray_presubmit", "ray_postsubmit", "ray_pretask", "ray_posttask", "ray_postsubmit_all",
    "ray_finish",
)  # fmt: skip


class RayCallback(NamedTuple):
    """The hooks of one callback, None where it has none."""

    ray_presubmit: Any = None
    ray_postsubmit: Any = None
    ray_pretask: Any = None
    ray_posttask: Any = None
    ray_postsubmit_all: Any = None
    ray_finish: Any = None


class RayCallbacks(NamedTuple):
    """The hooks of all callbacks that are active, None where there are none."""

    ray_presubmit_cbs: Any = None
    ray_postsubmit_cbs: Any = None
    ray_pretask_cbs: Any = None
    ray_posttask_cbs: Any = None
    ray_postsubmit_all_cbs: Any = None
    ray_finish_cbs: Any = None


class RayDaskCallback(Callback):
    """Dask's `Callback`, with hooks around the Ray tasks of a graph.

    Give the hooks as arguments, or subclass and define them with an underscore before their names.
    All are called in the driver, but for the two around a task.

    Parameters
    ----------
    ray_presubmit : callable
        ``(task, key, deps)`` before a task is made. What it returns, unless None, is the
        task's value, and no task is made.
    ray_postsubmit : callable
        ``(task, key, deps, object_ref)``.
    ray_pretask : callable
        ``(key, object_refs)`` where the task runs, before it; what it returns goes to
        `ray_posttask`.
    ray_posttask : callable
        ``(key, result, pre_state)`` where the task runs, after it.
    ray_postsubmit_all : callable
        ``(object_refs, graph)`` when all tasks are made.
    ray_finish : callable
        ``(result)`` at the end.
    """

    #: The hooks that are active, in every thread.
    ray_active: ClassVar[set[RayCallback]] = set()

    def __init__(self, **hooks: Any):
        for name in HOOKS:
            hook = hooks.pop(name, None)
            if hook is not None:
                setattr(self, "_" + name, hook)
        super().__init__(**hooks)

    @property
    def _ray_callback(self) -> RayCallback:
        return RayCallback(*(getattr(self, "_" + name, None) for name in HOOKS))

    def __enter__(self) -> RayDaskCallback:
        self._added = self._ray_callback
        RayDaskCallback.ray_active.add(self._added)
        super().__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        super().__exit__(*exception)
        RayDaskCallback.ray_active.discard(self._added)

    def register(self) -> None:
        """Be active until `unregister`."""
        RayDaskCallback.ray_active.add(self._ray_callback)
        super().register()

    def unregister(self) -> None:
        """Be active no more."""
        RayDaskCallback.ray_active.discard(self._ray_callback)
        super().unregister()


@contextlib.contextmanager
def local_ray_callbacks(ray_callbacks: Any = None) -> Iterator[Any]:
    """The callbacks given, or those that are active if none are; for as long as the block lasts.

    Parameters
    ----------
    ray_callbacks : iterable of RayDaskCallback, optional
    """
    yield ray_callbacks if ray_callbacks is not None else set(RayDaskCallback.ray_active)


def unpack_ray_callbacks(callbacks: Iterable[Any] | None) -> RayCallbacks:
    """The hooks of several callbacks, by kind.

    Parameters
    ----------
    callbacks : iterable of RayDaskCallback or of their hooks
    """
    given = [getattr(one, "_ray_callback", one) for one in callbacks or ()]
    # A state goes from one hook around a task to the other: these two stay side by side.
    paired = [one for one in given if one.ray_pretask or one.ray_posttask]
    lists = [
        [
            getattr(one, name)
            for one in (paired if name in ("ray_pretask", "ray_posttask") else given)
        ]
        for name in HOOKS
    ]
    return RayCallbacks(
        *(
            hooks if name in ("ray_pretask", "ray_posttask") else [x for x in hooks if x] or None
            for name, hooks in zip(HOOKS, lists, strict=True)
        )
    )
