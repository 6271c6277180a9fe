"""cloudpickle's pickler, with reducers for what it does not know."""

from __future__ import annotations

import copyreg
import importlib
import os
import pickle
import sys
import types
import warnings
from collections.abc import Callable
from typing import Any

import cloudpickle

Reducer = Callable[[Any], Any]
#: Bytes from which on a part of a pickle is not copied.
LARGE = 64 << 10
_TABLE: dict[type, Reducer] = dict(cloudpickle.Pickler._dispatch_table)


class _Pickler(cloudpickle.Pickler):
    """One table of reducers in place of a chain of them: it is consulted for every object."""

    def __init__(
        self, file: Pieces, buffers: list[pickle.PickleBuffer], table: dict[type, Reducer]
    ):
        self.dispatch_table = table  # read by `__init__`, once
        super().__init__(file, protocol=5, buffer_callback=buffers.append)


class Pieces:
    """A file for a pickler, which hands large `bytes` and `bytearray` on as they are: no copies."""

    def __init__(self) -> None:
        self.done: list[bytes | memoryview] = []
        self._small = bytearray()

    def write(self, data: Any) -> None:
        """Take what the pickler writes; it may be changed afterwards if it is small."""
        if len(data) < LARGE:
            self._small += data
        else:
            self._finish()
            self.done.append(memoryview(data))

    def _finish(self) -> None:
        if self._small:
            self.done.append(bytes(self._small))
            self._small.clear()

    def taken(self) -> list[bytes | memoryview]:
        """All of it, in order: the first is `bytes`."""
        self._finish()
        return self.done


def dump(
    value: Any, buffers: list[pickle.PickleBuffer], reducers: dict[type, Reducer]
) -> list[bytes | memoryview]:
    """Pickle `value` by protocol 5; buffers beside the pickle are appended to `buffers`.

    Parameters
    ----------
    value : object
        Functions and classes of `__main__` are pickled by value.
    buffers : list
        Takes a `PickleBuffer` each.
    reducers : dict
        {class: reducer}, before all others.

    Returns
    -------
    list of bytes or memoryview
        The pickle, in pieces: the large ones are the value's own memory.
    """
    table = {**copyreg.dispatch_table, **_TABLE, **_OURS, **_optional_reducers(), **reducers}
    file = Pieces()
    _Pickler(file, buffers, table).dump(value)
    return file.taken()


# -- code -------------------------------------------------------------------------

#: What cloudpickle 3.1.3 puts in place of the file that a function is from.
_NO_FILE = "<dynamic-code>"


def _reduce_code(code: types.CodeType) -> Any:
    """Code keeps the name of its file: else no traceback of a task would show the user's lines."""
    make, args = _TABLE[types.CodeType](code)
    return make, tuple(code.co_filename if arg == _NO_FILE else arg for arg in args)


def _reduce_memoryview(view: memoryview) -> Any:
    """A `memoryview` arrives as `bytes`, as with cloudpickle; its memory is not copied before."""
    if not view.contiguous or view.nbytes < LARGE:
        return _TABLE[memoryview](view)
    return bytes, (pickle.PickleBuffer(view),)


_OURS: dict[type, Reducer] = {types.CodeType: _reduce_code, memoryview: _reduce_memoryview}


def _optional_reducers() -> dict[type, Reducer]:
    reducers: dict[type, Reducer] = {}
    torch = sys.modules.get("torch")
    if torch is not None and "Tensor" in vars(torch):
        reducers[torch.Tensor] = _reduce_tensor
    dask = sys.modules.get("distributed.client")
    if dask is not None and "Future" in vars(dask):
        reducers[dask.Future] = _reduce_future
    return reducers


# -- Dask futures -----------------------------------------------------------------


def _reduce_future(future: Any) -> Any:
    """A Dask future travels with a ref that keeps it, and so its key, where it came from."""
    from ray_on_dask.runtime import current
    from ray_on_dask.serialization import current_refs

    if current.process is None or current_refs() is None or future.client is None:
        return future.__reduce__()
    return restore_future, (future.key, current.process.interop.keeper(future))


def restore_future(key: Any, keeper: Any) -> Any:
    """What a pickled Dask future becomes in the process that it has come to."""
    from ray_on_dask.runtime import current

    return current.require().interop.future_of_key(key, keeper)


# -- tensors ----------------------------------------------------------------------


def _reduce_tensor(tensor: Any) -> Any:
    torch = sys.modules["torch"]
    plain = (
        tensor.device.type == "cpu"
        and tensor.layout == torch.strided
        and tensor.numel()
        and tensor.is_leaf
        and not vars(tensor)
        and not (tensor.is_quantized or tensor.is_conj() or tensor.is_neg())
    )
    if not plain:
        return tensor.__reduce_ex__(5)
    flat = tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy()
    buffer = pickle.PickleBuffer(flat)
    return _make_tensor, (buffer, tensor.dtype, tuple(tensor.shape), tensor.requires_grad)


def _make_tensor(buffer: Any, dtype: Any, shape: tuple[int, ...], requires_grad: bool) -> Any:
    torch = importlib.import_module("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the buffer is read-only, and torch cannot express that:
        tensor = torch.frombuffer(buffer, dtype=dtype).reshape(shape)
    if os.environ.get("RAY_ENABLE_ZERO_COPY_TORCH_TENSORS") != "1":
        tensor = tensor.clone()  # a write to the shared memory would end the process
    return tensor.requires_grad_() if requires_grad else tensor
