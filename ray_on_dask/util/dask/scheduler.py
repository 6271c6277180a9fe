"""A Dask scheduler function that runs the tasks of a graph as Ray tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ray_on_dask as ray
from ray_on_dask.util.dask.callbacks import local_ray_callbacks, unpack_ray_callbacks

_RESOURCES = (
    'ray_remote_args={"resources": {...}} says what resources a task needs, not resources={...}'
)


def enable_dask_on_ray(
    shuffle: str | None = "tasks", use_shuffle_optimization: bool | None = True
) -> Any:
    """Have `compute` run graphs as Ray tasks, from now on or, as a context manager, for a while.

    Parameters
    ----------
    shuffle : str, optional
        How DataFrames are shuffled: "tasks" or "disk".
    use_shuffle_optimization : bool
        Accepted; Dask's own optimizations are used.
    """
    import dask

    return dask.config.set({"scheduler": ray_dask_get, "dataframe.shuffle.method": shuffle})


def disable_dask_on_ray() -> Any:
    """Have `compute` choose as it did, from now on or, as a context manager, for a while."""
    import dask

    return dask.config.set({"scheduler": None, "dataframe.shuffle.method": None})


def ray_dask_get(dsk: Any, keys: Any, **kwargs: Any) -> Any:
    """Run a Dask graph as Ray tasks; to be given to `compute` as its `scheduler`.

    Every task is submitted at once, with the refs of what it depends on; nothing passes
    through Dask's scheduler.

    Parameters
    ----------
    dsk : graph or expression
    keys : key, or nested list of keys
    **kwargs
        ``ray_callbacks`` (`RayDaskCallback`) and ``ray_remote_args`` (options of the tasks, also
        by ``dask.annotate(ray_remote_args=...)``) count; ``ray_persist=True`` gives refs instead
        of values. The rest is for other schedulers.

    Examples
    --------
    >>> import dask.bag as db                                               # doctest: +SKIP
    >>> db.range(10, npartitions=2).sum().compute(scheduler=ray_dask_get)   # doctest: +SKIP
    45
    """
    import dask

    if "resources" in kwargs or "resources" in dask.get_annotations():
        raise ValueError(_RESOURCES)
    with local_ray_callbacks(kwargs.get("ray_callbacks")) as active:
        hooks = unpack_ray_callbacks(active)
        graph, options = _graph(dsk, kwargs.get("ray_remote_args") or {})
        values = _Submission(graph, options, hooks).run()
        found = _picked(keys, values)
        for hook in hooks.ray_postsubmit_all_cbs or ():
            hook(found, graph)
        del graph, values  # what nobody depends on any more goes as the tasks end
        result = found if kwargs.get("ray_persist") else _fetched(found)
        for hook in hooks.ray_finish_cbs or ():
            hook(result)
        return result


def ray_dask_get_sync(dsk: Any, keys: Any, **kwargs: Any) -> Any:
    """The same as `ray_dask_get`, which submits from the calling thread in any case."""
    return ray_dask_get(dsk, keys, **kwargs)


def _graph(dsk: Any, common: dict[str, Any]) -> tuple[dict[Any, Any], dict[Any, dict[str, Any]]]:
    """The graph in Dask's one form of today, and the options of those tasks that have some."""
    import dask

    from ray_on_dask.plugins import _dask_compat_tasks

    if not isinstance(dsk, Mapping):
        dsk = _dask_compat_tasks.graph_of(dsk)
    everywhere = {**common, **dask.get_annotations().get("ray_remote_args", {})}
    options: dict[Any, dict[str, Any]] = {}
    for layer in getattr(dsk, "layers", {}).values():
        annotations = layer.annotations or {}
        if "resources" in annotations:
            raise ValueError(_RESOURCES)
        special = annotations.get("ray_remote_args")
        if special:
            options |= {key: {**everywhere, **special} for key in layer.get_output_keys()}
    graph = _dask_compat_tasks.graph_nodes(dsk)
    if everywhere:
        options = {**dict.fromkeys(graph, everywhere), **options}
    return graph, options


class _Submission:
    """One graph on its way to being tasks."""

    def __init__(self, graph: dict[Any, Any], options: dict[Any, dict[str, Any]], hooks: Any):
        self.graph = graph
        self.options = options
        self.hooks = hooks
        self.around = (hooks.ray_pretask_cbs, hooks.ray_posttask_cbs)
        #: {key: its value, or a ref to it}.
        self.values: dict[Any, Any] = {}

    def run(self) -> dict[Any, Any]:
        from dask.order import order

        first = order(self.graph)
        for key in sorted(self.graph, key=first.__getitem__):
            self.values[key] = self._value(key, self.graph[key])
        return self.values

    def _value(self, key: Any, node: Any) -> Any:
        kind = type(node).__name__
        if kind == "DataNode":
            return node.value
        if kind == "Alias":
            return self.values[node.target]
        names = [name for name in node.dependencies if name in self.values]
        given = {name: self.values[name] for name in names}
        for hook in self.hooks.ray_presubmit_cbs or ():
            value = hook(node, key, given)
            if value is not None:
                return value
        options = {"name": f"dask:{_label(key)}", **self.options.get(key, {})}
        ref = _run.options(**options).remote(node, key, names, self.around, *given.values())
        for hook in self.hooks.ray_postsubmit_cbs or ():
            hook(node, key, given, ref)
        return ref


@ray.remote
def _run(node: Any, key: Any, names: list[Any], around: tuple[Any, Any], *values: Any) -> Any:
    """One task of a graph."""
    before, after = around
    states = [hook(key, values) if hook is not None else None for hook in before or ()]
    result = node(dict(zip(names, values, strict=True)))
    for hook, state in zip(after or (), states, strict=True):
        if hook is not None:
            hook(key, result, state)
    return result


def _label(key: Any) -> str:
    from dask.utils import key_split

    return str(key_split(key))


def _picked(keys: Any, values: dict[Any, Any]) -> Any:
    if isinstance(keys, list):
        return [_picked(key, values) for key in keys]
    return values[keys]


def _fetched(found: Any) -> Any:
    """The values of all refs in nested lists, fetched in one go."""
    refs: list[Any] = []

    def collect(part: Any) -> None:
        for one in part if isinstance(part, list) else [part]:
            if isinstance(one, list):
                collect(one)
            elif isinstance(one, ray.ObjectRef):
                refs.append(one)

    collect(found)
    fetched = iter(ray.get(refs))

    def fill(part: Any) -> Any:
        if isinstance(part, list):
            return [fill(one) for one in part]
        return next(fetched) if isinstance(part, ray.ObjectRef) else part

    return fill(found)
