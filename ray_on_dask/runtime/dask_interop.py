"""Dask beside Ray in one process: futures of one as refs of the other.

Dask is imported when it is first needed, in drivers as in executors.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from ray_on_dask.ids import PUT_INDEX
from ray_on_dask.runtime.object_ref import Entry, ObjectRef, ref_to
from ray_on_dask.wire.messages import ERROR, FREED, INLINE, STORED, Value

if TYPE_CHECKING:
    from ray_on_dask.runtime.process import Process

#: Seconds for a stored object to become a Dask key.
KEY_TIMEOUT = 10.0


class DaskInterop:
    """Makes refs of Dask futures and Dask futures of refs.

    Parameters
    ----------
    process : Process
    client : distributed.Client, optional
        The user's own; one is made on first use if there is none.
    """

    def __init__(self, process: Process, client: Any = None):
        self.process = process
        self._client = client
        self._own = False
        self._lock = threading.Lock()

    @property
    def client(self) -> Any:
        """A client of the session's scheduler."""
        with self._lock:
            if self._client is None:
                from distributed import Client

                address = self.process.asking.ask("session")["scheduler_address"]
                self._client = Client(address, set_as_default=False, name="ray_on_dask")
                self._own = True
            return self._client

    # -- a ref of a Dask future ---------------------------------------------------------

    def ref_of_future(self, future: Any) -> ObjectRef[Any]:
        """A ref to a Dask future's value, which is gathered here when it is there."""
        if not _is_future(future):
            raise TypeError(f"an ObjectRef or a Dask future is expected, not {type(future)}")
        entry = Entry(self.process.task_ids.next() + PUT_INDEX)
        entry.share().label = "dask"
        ref = ref_to(entry)
        self.process.references.make_known(ref)
        # The callback holds the future: its value stays in the cluster until it is here.
        future.add_done_callback(lambda done: self._arrived(entry, done))
        return ref

    def _arrived(self, entry: Entry, future: Any) -> None:
        from ray_on_dask.error_serialization import dumps_error

        process = self.process
        try:
            value = self._value(entry, future.result())
        except BaseException as error:  # a cancelled future raises CancelledError
            value = Value(ERROR, dumps_error(error))
        with process.lock:
            process.references.complete(entry, value)
            process.send_out()

    def _value(self, entry: Entry, value: Any) -> Value:
        from ray_on_dask.runtime.storing import INLINE_MAX
        from ray_on_dask.serialization import serialize, to_bytes

        serialized = serialize(value)
        if serialized.inner:
            entry.share().inner = list(serialized.inner)
        if serialized.size <= INLINE_MAX:
            return Value(INLINE, to_bytes(serialized))
        at = self.process.storing.write_result(entry.id, serialized, "dask")
        return Value(STORED, b"", at)

    # -- a Dask future of a ref -----------------------------------------------------------

    def dask_future(self, ref: ObjectRef[Any], client: Any = None) -> Any:
        """A Dask future of a ref's value; waits for the value, and raises what `get` would.

        A stored value does not pass through this process: a Dask task loads it where it lies.
        """
        process, client = self.process, client or self.client
        process.getting.block_for([ref._entry], 1, None, first_error=True)
        entry = ref._entry
        if entry.kind in (ERROR, FREED) or entry.kind == INLINE:
            return client.scatter(process.getting.get_one(ref, None), direct=True, hash=False)
        from ray_on_dask.plugins._dask_compat import future_of_key
        from ray_on_dask.plugins.stored_handle import load

        process.references.promote(ref)
        process.flush()
        handle = future_of_key(client, self._key(ref, client))
        future = client.submit(load, handle, pure=False)
        # The object, and the key, stay until the value is loaded.
        future.add_done_callback(lambda _, held=(ref, handle): None)
        return future

    def _key(self, ref: ObjectRef[Any], client: Any) -> str:
        """The Dask key of a stored object, once it is one and `client` wants it."""
        from ray_on_dask.exceptions import GetTimeoutError
        from ray_on_dask.plugins._dask_compat import ask_scheduler

        deadline = time.monotonic() + KEY_TIMEOUT
        while time.monotonic() < deadline:
            key = ask_scheduler(client, "rod_want", id=ref._entry.id.hex(), wanter=client.id)
            if key:
                return str(key)
            time.sleep(0.02)
        raise GetTimeoutError(f"{ref!r} did not become a Dask key within {KEY_TIMEOUT:g} s.")

    def close(self) -> None:
        """Close the client, if it is our own."""
        if self._own and self._client is not None:
            self._client.close()
            self._client = None


def _is_future(value: Any) -> bool:
    """Whether this is a Dask future; does not import Dask."""
    return hasattr(value, "add_done_callback") and hasattr(value, "key")
