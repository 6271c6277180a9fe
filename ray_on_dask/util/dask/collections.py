"""Dask collections as refs, one for each partition, and refs as partitions of a collection."""

from __future__ import annotations

import itertools
from typing import Any

import ray_on_dask as ray
from ray_on_dask.runtime import current


def from_dask(collection: Any, client: Any = None) -> Any:
    """Refs to the partitions of a Dask collection, which Dask computes in the background.

    Each partition is written to the object store of the node that has computed it, and Ray tasks
    read it there. It does not pass through this process.

    Parameters
    ----------
    collection : dask collection
        A DataFrame, Series, Index, Array, Bag or Delayed, persisted or not.
    client : distributed.Client, optional
        Computes what is not persisted yet. Default: the one that the collection is persisted
        with, else this session's own.

    Returns
    -------
    list of ObjectRef
        In the order of the partitions. Of an Array nested as its blocks are, in as many levels as
        it has dimensions; of a Delayed the ref alone.

    Raises
    ------
    TypeError
        For what is no Dask collection.

    Examples
    --------
    >>> import dask.array as da                                             # doctest: +SKIP
    >>> left, right = from_dask(da.arange(100, chunks=50))                  # doctest: +SKIP
    """
    import dask
    from dask.delayed import Delayed
    from distributed import futures_of

    if not dask.is_dask_collection(collection):
        raise TypeError(f"from_dask takes a Dask collection, not {type(collection)}")
    process = _process()
    if client is None:
        there = futures_of(collection)
        client = there[0].client if there and there[0].client else process.interop.client
    persisted = client.persist(collection)
    graph = dict(persisted.__dask_graph__())

    def refs(keys: Any) -> Any:
        return [refs(key) for key in keys] if isinstance(keys, list) else process.as_ref(
            _future(graph, keys)
        )  # fmt: skip

    found = refs(persisted.__dask_keys__())
    return found[0] if isinstance(collection, Delayed) else found


def _future(graph: dict[Any, Any], key: Any) -> Any:
    """The future that a key of a persisted collection stands for; some are names of others."""
    while not hasattr(graph[key], "add_done_callback"):
        key = graph[key].target
    return graph[key]


def to_dask(
    refs: Any, meta: Any = None, *, divisions: Any = None, chunks: Any = None, client: Any = None
) -> Any:
    """A Dask collection whose partitions are the values of refs.

    The refs need not be ready if `meta` (and, for an Array, `chunks`) is given: the graph waits
    for them. The values stay for as long as anybody has the collection, or what is made of it.

    Parameters
    ----------
    refs : ObjectRef or list of ObjectRef
        The partitions, in order. For an Array of several dimensions a nested list, as `from_dask`
        gives it.
    meta : object, optional
        An example of a partition, which may be empty: a pandas DataFrame, Series or Index gives
        a DataFrame, Series or Index, a NumPy array an Array, a list or tuple a Bag. Default: the
        first partition is looked at, when it is there.
    divisions : tuple, optional
        Of a DataFrame: the partitions' limits, one more than there are partitions.
    chunks : tuple of tuples of int, optional
        Of an Array: sizes of the blocks along each dimension. Default: the blocks are looked at,
        when they are all there.
    client : distributed.Client, optional
        Of which the collection is to be. Default: this session's own.

    Returns
    -------
    dask collection
        To be computed by that client.

    Raises
    ------
    TypeError
        For what is no ref, or if no collection is made of such partitions.
    """
    flat = list(_flatten(refs))
    if not flat:
        raise TypeError("to_dask takes one ref or more, got none")
    for ref in flat:
        if not isinstance(ref, ray.ObjectRef):
            raise TypeError(f"to_dask takes refs, or lists of refs, not {type(ref)}")
    interop = _process().interop
    if meta is None:
        meta = ray.get(_example.remote(flat[0]))
    kind = _kind(meta)
    if kind == "array":
        return _array(refs if isinstance(refs, list) else [refs], flat, meta, chunks, interop,
                      client)  # fmt: skip
    futures = interop.dask_futures(flat, client)
    if kind == "frame":
        from dask.dataframe import from_delayed

        return from_delayed(futures, meta=meta, divisions=divisions, verify_meta=False)
    from dask.bag import Bag

    name = f"to_dask-{futures[0].key}"
    return Bag({(name, i): future for i, future in enumerate(futures)}, name, len(futures))


def _process() -> Any:
    if not ray.is_initialized():
        ray.init()
    return current.require()


def _flatten(refs: Any) -> Any:
    return itertools.chain.from_iterable(map(_flatten, refs)) if isinstance(refs, list) else [refs]


def _kind(meta: Any) -> str:
    module = type(meta).__module__.partition(".")[0]
    if module == "pandas":
        return "frame"
    if module == "numpy" and hasattr(meta, "dtype") and hasattr(meta, "ndim"):
        return "array"
    if isinstance(meta, list | tuple):
        return "bag"
    raise TypeError(
        "to_dask makes DataFrames of pandas objects, Arrays of NumPy arrays and Bags of lists, but "
        f"a partition is (or `meta` says) {type(meta)}. For a value alone, use ref.dask_future()."
    )


@ray.remote
def _example(value: Any) -> Any:
    """What a partition is like, without its rows."""
    if type(value).__module__.partition(".")[0] == "pandas":
        return value[:0]
    if hasattr(value, "dtype") and hasattr(value, "ndim"):
        return value[(slice(0, 0),) * value.ndim]
    return value[:0] if isinstance(value, list | tuple) else value


@ray.remote
def _shape(value: Any) -> tuple[int, ...]:
    return tuple(value.shape)


def _array(nested: Any, flat: list[Any], meta: Any, chunks: Any, interop: Any, client: Any) -> Any:
    """An Array of blocks, in as many levels of lists as there are dimensions."""
    from dask.array import Array

    numblocks = []
    level = nested
    while isinstance(level, list):
        numblocks.append(len(level))
        level = level[0]
    if chunks is None:
        shapes = ray.get([_shape.remote(ref) for ref in flat])
        # Along the dimensions for which there is no level, each block is the whole.
        numblocks += [1] * (len(shapes[0]) - len(numblocks))
        places = itertools.product(*map(range, numblocks))
        sizes: list[dict[int, int]] = [{} for _ in numblocks]
        for place, shape in zip(places, shapes, strict=True):
            for axis, (at, size) in enumerate(zip(place, shape, strict=True)):
                if sizes[axis].setdefault(at, size) != size:
                    raise ValueError(
                        f"to_dask: block {place} has the shape {shape}, which does not fit to its "
                        "neighbours"
                    )
        chunks = tuple(tuple(size[i] for i in range(len(size))) for size in sizes)
    else:
        numblocks = [len(sizes) for sizes in chunks]
    futures = interop.dask_futures(flat, client)
    name = f"to_dask-{futures[0].key}"
    places = itertools.product(*map(range, numblocks))
    graph = {(name, *place): future for place, future in zip(places, futures, strict=True)}
    return Array(graph, name, chunks, dtype=meta.dtype, meta=meta)
