"""What runs as Dask tasks: a ref's value into a Dask graph, a Dask value into the object store.

Both run on the worker where the bytes lie, or are to lie, so no value passes through the process
that asked.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from distributed import Reschedule, get_worker

from ray_on_dask.exceptions import LocalRayletDiedError, ObjectLostError, RaySystemError
from ray_on_dask.plugins import _dask_compat_tasks as dask
from ray_on_dask.runtime.guest import Guest, guest_of
from ray_on_dask.runtime.object_ref import Entry, ObjectRef
from ray_on_dask.runtime.within import within
from ray_on_dask.serialization import serialize, to_bytes
from ray_on_dask.wire.messages import INLINE, STORED

#: Seconds between two looks whether a task that waits for a ref is still wanted.
LOOK_EVERY = 0.5
NODE = "ray_on_dask-node"

#: (kind, bytes, where it lies): a `Value` as it goes through Dask.
Written = tuple[int, bytes, tuple[str, str, int, int] | None]


def _node(worker: Any) -> Any:
    plugin = dask.worker_plugin(worker, NODE)
    node = getattr(plugin, "node", None)
    if node is None or node.closing:
        raise RaySystemError(f"The Dask worker at {worker.address} is no node of ray_on_dask.")
    return node


def write_value(value: Any, id: bytes, label: str, inline_max: int) -> Written:
    """Make a Dask value an object of the store: the Dask task of `ref_of_future`.

    Small ones are given back as bytes.
    """
    serialized = serialize(value)
    if serialized.inner:
        raise TypeError("a value in a Dask graph that contains ObjectRefs cannot be a ref's value")
    if serialized.size <= inline_max:
        return INLINE, to_bytes(serialized), None
    guest = guest_of(_node(get_worker()))
    at = guest.storing.write_result(id, serialized, label)
    guest.send_out()
    return STORED, b"", (at.node, at.segment, at.offset, at.size)


async def read_ref(id: bytes, key: str) -> Any:
    """The value of a ref, once it is there: the Dask task of `dask_future`.

    Arrays are views of shared memory where the object lies on this host. While it waits it takes
    no thread of the worker and no CPU of the node.
    """
    worker = get_worker()
    dask.secede(worker, key)
    node = _node(worker)
    loop = asyncio.get_running_loop()
    arrived = asyncio.Event()
    guest, ref = await loop.run_in_executor(
        None, _ask_for, node, id, lambda _: loop.call_soon_threadsafe(arrived.set)
    )
    try:
        while not arrived.is_set():
            with contextlib.suppress(asyncio.TimeoutError):
                await within(LOOK_EVERY, arrived.wait())
            if guest.closing:
                raise LocalRayletDiedError("The node that waited for the value was shut down.")
            if not dask.is_wanted(worker, key):
                raise Reschedule  # nobody looks at it, unless somebody wants it again just now
        return await loop.run_in_executor(guest.readers, guest.getting.value, ref._entry)
    finally:
        del ref  # an error's traceback would keep it


def _ask_for(node: Any, id: bytes, ready: Callable[[Entry], Any]) -> tuple[Guest, ObjectRef[Any]]:
    """The ref, held, with `ready` to be called; `ObjectLostError` if nobody has it any more."""
    guest = guest_of(node)
    ref = guest.references.received(id)
    if not guest.asking.ask("is_known", id=id):
        del ref  # the error's traceback would keep it
        raise ObjectLostError(
            id.hex(), detail="Dask made a task again whose ref nobody holds any more: keep the "
            "ref, or its dask_future(), for as long as the graph is computed."
        )  # fmt: skip
    with guest.lock:
        guest.references.when_ready(ref._entry, ready)
    guest.flush()
    return guest, ref
