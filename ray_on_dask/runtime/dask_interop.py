"""Dask beside Ray in one driver: futures of one as refs of the other. Dask is imported when needed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from ray_on_dask.runtime.object_ref import ObjectRef

if TYPE_CHECKING:
    from ray_on_dask.runtime.driver import Driver


class DaskInterop:
    """Makes refs of Dask futures and Dask futures of refs.

    Parameters
    ----------
    driver : Driver
    client : distributed.Client, optional
        The user's own; one is made on first use if there is none.
    """

    def __init__(self, driver: Driver, client: Any = None):
        self.driver = driver
        self._client = client
        self._own = False
        self._lock = threading.Lock()

    @property
    def client(self) -> Any:
        """A client of the session's scheduler."""
        with self._lock:
            if self._client is None:
                from distributed import Client

                address = self.driver.session_facts["scheduler_address"]
                self._client = Client(address, set_as_default=False)
                self._own = True
            return self._client

    def ref_of_future(self, future: Any) -> ObjectRef[Any]:
        """A ref to a Dask future's value, which is gathered here when it is there."""
        from ray_on_dask.ids import PUT_INDEX
        from ray_on_dask.runtime.object_ref import Entry, ref_to

        entry = Entry(self.driver.task_ids.next() + PUT_INDEX)
        entry.share().label = "dask"
        ref = ref_to(entry)
        self.driver.references.make_known(ref)
        future.add_done_callback(lambda done: self._arrived(entry, done))
        return ref

    def _arrived(self, entry: Any, future: Any) -> None:
        from ray_on_dask.error_serialization import dumps_error
        from ray_on_dask.wire.messages import ERROR, INLINE, STORED, Value

        driver = self.driver
        try:
            made = driver.storing.put(future.result())
        except Exception as error:
            value = Value(ERROR, dumps_error(error))
        else:
            inner = made._entry
            data = inner.data if inner.kind == INLINE else b""
            value = Value(inner.kind, data, inner.data if inner.kind == STORED else None)
            if inner.kind == STORED:
                with driver.lock:
                    driver.storing.rename(inner, entry)
        with driver.lock:
            driver.references.complete(entry, value)
            driver.send_out()

    def dask_future(self, ref: ObjectRef[Any], client: Any = None) -> Any:
        """A Dask future of a ref's value: the value is scattered when it is there."""
        client = client or self.client
        value = self.driver.getting.get_one(ref, None)
        return client.scatter(value, direct=True, hash=False)

    def close(self) -> None:
        """Close the client, if it is our own."""
        if self._own and self._client is not None:
            self._client.close()
            self._client = None
