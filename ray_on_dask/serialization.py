"""Values as bytes and back: pickle protocol 5, with large buffers beside the pickle.

A serialized value begins with a byte that says what it is:

- `0x80`: it is a pickle (protocol 2 and later begin so), nothing else;
- `PICKLE_AND_BUFFERS`: a table, a pickle, and the buffers that the pickle takes
  in order, each at a multiple of 64 bytes. They are used where they lie: arrays
  come back read-only, in shared memory and in messages alike;
- `RAW_BYTES`, `RAW_BYTEARRAY`: the content of a large `bytes` or `bytearray`.

What is built of a few plain scalars goes straight to the C pickler, and so do
NumPy arrays. Everything else is cloudpickle's. Neither it nor NumPy is imported
before a value needs it.
"""

from __future__ import annotations

import pickle
import struct
import sys
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from ray_on_dask.objectstore.free_list import ALIGNMENT, aligned

if TYPE_CHECKING:
    from ray_on_dask.objectstore.view import View

PICKLE_AND_BUFFERS, RAW_BYTES, RAW_BYTEARRAY = b"\x01", b"\x02", b"\x03"

_PICKLE = 0x80
#: Kind, number of buffers, length of the pickle; then (offset, length) of each buffer.
_TABLE = struct.Struct("<B3xIQ")
_ENTRY = struct.Struct("<QQ")
_TABLE_OF_ONE = struct.Struct("<B3xIQQQ")
#: `bytes` of this length and more are not pickled.
_RAW_FROM = 64 << 10
#: Containers of no more items than this are looked through for the fast path.
_FEW = 16
#: and no deeper than so many levels below the first.
_LEVELS = 2

_SCALARS = frozenset((int, float, bool, type(None), str, bytes))
_is_scalar = _SCALARS.issuperset
#: Those that are never large, but for text, which has to be encoded anyway.
_is_small = frozenset(_SCALARS - {bytes}).issuperset
#: Numbers of the dtypes that pickle by themselves: booleans, numbers, strings,
#: times; neither objects (17) nor structures (20).
_PLAIN_DTYPES = frozenset(range(24)) - {17, 20}

_dumps = pickle.dumps
_loads = pickle.loads
_modules = sys.modules


class Serialized(msgspec.Struct, frozen=True, gc=False):
    """A value, ready to be written: in one piece by `to_bytes`, or piece by piece by `parts`."""

    #: All of it, if there are no buffers and no large parts; else what comes before them.
    header: bytes
    #: Flat buffers of what was pickled, not copied: they change with it.
    buffers: Sequence[memoryview]
    #: The refs inside the value.
    inner: Sequence[Any]
    #: Bytes that it takes in all.
    size: int
    #: What follows the header: large parts of the pickle, not copied, and what is between them.
    rest: Sequence[bytes | memoryview] = ()


# -- refs inside values --------------------------------------------------------------


class _Collecting(threading.local):
    refs: list[Any] | None = None


_collecting = _Collecting()


def current_refs() -> list[Any] | None:
    """The list that takes the refs inside the value that this thread serializes, if it does."""
    return _collecting.refs


def note_ref(ref: object) -> None:
    """Say, from its `__reduce__`, that `ref` is inside the value; nothing outside `serialize`."""
    refs = _collecting.refs
    if refs is not None:
        refs.append(ref)


def collecting(refs: list[Any], dumps: Callable[[Any], bytes], value: Any) -> bytes:
    """``dumps(value)``, while `refs` takes the refs inside the value instead of what it had."""
    refs.clear()
    outer, _collecting.refs = _collecting.refs, refs
    try:
        return dumps(value)
    except BaseException:
        refs.clear()
        raise
    finally:
        _collecting.refs = outer


def without_refs(dumps: Callable[[Any], bytes], value: Any) -> bytes:
    """``dumps(value)``; `TypeError` if a ref is inside, of which nobody would take care."""
    refs: list[Any] = []
    data = collecting(refs, dumps, value)
    if refs:
        raise TypeError(f"{refs[0]!r} is inside")
    return data


# -- to bytes --------------------------------------------------------------------------


def serialize(value: Any) -> Serialized:
    """Pickle a value, without a copy of its large buffers.

    Raises
    ------
    Exception
        Whatever its pickling raises; `explain_failure` makes an error for people of it.
    """
    kind = type(value)
    if kind in _SCALARS:
        if kind is bytes and len(value) >= _RAW_FROM:
            return Serialized(RAW_BYTES, (memoryview(value),), (), 1 + len(value))
        data = _dumps(value, 5)
        return Serialized(data, (), (), len(data))
    if _is_plain(value, kind, _LEVELS):
        buffers: list[pickle.PickleBuffer] = []
        data = _dumps(value, 5, buffer_callback=buffers.append)
        return _assemble([data], buffers, ()) if buffers else Serialized(data, (), (), len(data))
    if kind is bytearray and len(value) >= _RAW_FROM and kind not in _reducers:
        return Serialized(RAW_BYTEARRAY, (memoryview(value),), (), 1 + len(value))
    return _cloudpickle(value)


def _is_plain(value: Any, kind: type, levels: int) -> bool:
    """Whether the C pickler makes the same of a value as cloudpickle would, seen at a glance."""
    if kind is tuple or kind is list:
        items = value
    elif kind is dict:
        if len(value) > _FEW or not _is_scalar(map(type, value)):
            return False
        items = value.values()
    else:
        return _is_plain_array(value, kind)
    if len(items) > _FEW:
        return False
    if _is_small(map(type, items)):
        return True
    for item in items:
        kind = type(item)
        if kind is bytes:
            if len(item) >= _RAW_FROM:
                return False
        elif kind not in _SCALARS and not (levels and _is_plain(item, kind, levels - 1)):
            return False
    return True


def _is_plain_array(value: Any, kind: type) -> bool:
    if kind.__module__ != "numpy" or kind in _reducers:
        return False
    numpy = _modules["numpy"]
    if kind is not numpy.ndarray and not issubclass(kind, numpy.generic):
        return False
    dtype = value.dtype
    return dtype.num in _PLAIN_DTYPES and dtype.metadata is None


def _cloudpickle(value: Any) -> Serialized:
    from ray_on_dask.pickler import dump

    buffers: list[pickle.PickleBuffer] = []
    refs: list[Any] = []
    outer, _collecting.refs = _collecting.refs, refs
    try:
        data = dump(value, buffers, _reducers)
    finally:
        _collecting.refs = outer
    return _assemble(data, buffers, refs)


def _assemble(
    pickled: Sequence[bytes | memoryview],
    buffers: list[pickle.PickleBuffer],
    inner: Sequence[Any],
) -> Serialized:
    """Lay out a pickle that is in pieces, and its buffers."""
    first, rest = pickled[0], pickled[1:]
    length = sum(map(len, pickled))
    if not buffers:
        return Serialized(bytes(first), (), inner, length, rest)
    raw = [buffer.raw() for buffer in buffers]
    if len(raw) == 1:
        start, size = aligned(_TABLE_OF_ONE.size + length), raw[0].nbytes
        head = _TABLE_OF_ONE.pack(PICKLE_AND_BUFFERS[0], 1, length, start, size) + first
        return Serialized(head, raw, inner, start + size, rest)
    end = aligned(_TABLE.size + _ENTRY.size * len(raw) + length)
    table = [_TABLE.pack(PICKLE_AND_BUFFERS[0], len(raw), length)]
    for view in raw:
        table.append(_ENTRY.pack(end, view.nbytes))
        size = end + view.nbytes
        end = aligned(size)
    return Serialized(b"".join([*table, first]), raw, inner, size, rest)


def parts(serialized: Serialized) -> list[bytes | memoryview]:
    """What makes up the stored form, in order, padding included: for `Store.write`."""
    pieces: list[bytes | memoryview] = [serialized.header, *serialized.rest]
    position = sum(map(len, pieces))
    padded = serialized.header[0] == PICKLE_AND_BUFFERS[0]
    for buffer in serialized.buffers:
        if padded and position % ALIGNMENT:
            pieces.append(bytes(-position % ALIGNMENT))
            position = aligned(position)
        pieces.append(buffer)
        position += buffer.nbytes
    return pieces


def to_bytes(serialized: Serialized) -> bytes:
    """The value in one piece, to be sent in a message."""
    if not serialized.buffers and not serialized.rest:
        return serialized.header
    return b"".join(parts(serialized))


def write_into(serialized: Serialized, target: memoryview) -> None:
    """Write the value to the start of `target`, which holds `serialized.size` bytes or more."""
    from ray_on_dask.objectstore.copying import copy_into

    position = 0
    for piece in parts(serialized):
        stop = position + len(piece)
        copy_into(target[position:stop], memoryview(piece))
        position = stop


# -- and back --------------------------------------------------------------------------


def deserialize(data: bytes) -> Any:
    """The value that `to_bytes` made `data` of; arrays in it are read-only and keep `data`.

    Raises
    ------
    Exception
        Whatever its unpickling raises.
    """
    if data[0] == _PICKLE:
        return _loads(data)
    return _load_parsed(*_parse(memoryview(data), memoryview(data).__getitem__))


def deserialize_view(view: View) -> Any:
    """The value that lies in the store: its arrays are read-only, and are the stored bytes.

    Raises
    ------
    ValueError
        If the view is closed.
    Exception
        Whatever its unpickling raises.
    """
    parsed = view.parsed
    if parsed is None:
        memory = view.memory
        if memory is None:
            raise ValueError("the view is closed")
        parsed = view.parsed = _parse(memory, lambda part: view.buffer(part.start, part.stop))
    return _load_parsed(*parsed)


def _parse(
    memory: memoryview, buffer: Callable[[slice], memoryview]
) -> tuple[int, memoryview, list[memoryview]]:
    """(kind, pickle or content, buffers), each where it lies."""
    kind = memory[0]
    if kind == _PICKLE:
        return kind, memory, []
    if kind != PICKLE_AND_BUFFERS[0]:
        return kind, memory[1:], []
    _, count, length = _TABLE.unpack_from(memory)
    start = _TABLE.size + _ENTRY.size * count
    table = _ENTRY.iter_unpack(memory[_TABLE.size : start])
    buffers = [buffer(slice(offset, offset + size)) for offset, size in table]
    return kind, memory[start : start + length], buffers


def _load_parsed(kind: int, content: memoryview, buffers: list[memoryview]) -> Any:
    if kind == RAW_BYTES[0]:
        return bytes(content)
    if kind == RAW_BYTEARRAY[0]:
        return bytearray(content)
    return _loads(content, buffers=buffers)


# -- classes with serializers of their own ------------------------------------------------

#: {class: what reduces its instances}, as in `copyreg.dispatch_table`.
_reducers: dict[type, Callable[[Any], tuple[Any, ...]]] = {}


def register_serializer(
    cls: type, *, serializer: Callable[[Any], Any], deserializer: Callable[[Any], Any]
) -> None:
    """Serialize instances of exactly `cls` by functions of one's own.

    It counts here and in the processes that run tasks and actors of this one, those that run
    already included: for arguments, results and `put`, at any depth.

    Parameters
    ----------
    cls : type
        Subclasses are not meant.
    serializer : callable
        Makes of an instance something that can be pickled.
    deserializer : callable
        Makes an instance of that again; it travels along with the value.

    Raises
    ------
    TypeError
        If `cls` is no class, or either of the others cannot be called.

    Examples
    --------
    >>> import threading
    >>> import ray_on_dask as ray
    >>> class Guarded:
    ...     def __init__(self, value):
    ...         self.value, self.lock = value, threading.Lock()
    >>> ray.register_serializer(Guarded, serializer=lambda x: x.value, deserializer=Guarded)
    >>> ray.get(ray.put(Guarded(5))).value
    5
    >>> ray.deregister_serializer(Guarded)
    """
    if not isinstance(cls, type):
        raise TypeError(f"register_serializer takes a class, got {cls!r}")
    for name, function in (("serializer", serializer), ("deserializer", deserializer)):
        if not callable(function):
            raise TypeError(f"register_serializer({name}=...) takes a function, got {function!r}")
    _reducers[cls] = lambda value: (deserializer, (serializer(value),))
    _share(cls, (serializer, deserializer))


def deregister_serializer(cls: type) -> None:
    """Forget what `register_serializer` was told about `cls`, if anything, here and elsewhere."""
    if _reducers.pop(cls, None) is not None:
        _share(cls, None)


def _share(cls: type, functions: tuple[Any, Any] | None) -> None:
    from ray_on_dask.runtime import current, shared_serializers

    shared_serializers.share(current.process, cls, functions)


def explain_failure(value: Any, what: str, error: BaseException, where: str = "") -> TypeError:
    """An error that says what inside a value cannot be serialized.

    Parameters
    ----------
    value : object
        What `serialize` failed with.
    what : str
        "put value", "argument" or "function".
    error : BaseException
        How it failed.
    where : str
        What follows the value's `repr`, such as " for a task or actor f".
    """
    from ray_on_dask.util.check_serialize import describe, trace

    name = getattr(value, "__qualname__", None) if what == "function" else None
    shown = f"{value.__module__}.{name}" if name else describe(value)
    text = f"Could not serialize the {what} {shown}{where}: {error}\n{trace(value)}"
    failure = TypeError(text)
    failure.__cause__ = error
    return failure
