"""Dask beside Ray in one process: futures of one as refs of the other.

A Dask future becomes a ref by a small Dask task that depends on it: it runs where the value
lies and writes it into that node's store, so the value does not come here. A ref becomes a Dask
future by a task that waits for the ref on a worker, takes no thread there meanwhile, and reads it
in place. In both directions Dask has a key with a way to make it from the start, so a graph may
be built upon what is still to come. Dask is imported when it is first needed.
"""

from __future__ import annotations

import itertools
import pickle
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from ray_on_dask.ids import PUT_INDEX
from ray_on_dask.runtime.object_ref import Entry, ObjectRef, ref_to
from ray_on_dask.runtime.storing import INLINE_MAX
from ray_on_dask.wire.messages import ERROR, STORED, Located, Value

if TYPE_CHECKING:
    from ray_on_dask.runtime.process import Process

#: Of the tasks that read and write: they are short, and others wait for them.
PRIORITY = 1000


class Source:
    """What a stored object was written from, by which Dask can make it again: a future's key."""

    def __init__(self, interop: DaskInterop, future: Any):
        self._interop, self._client, self._key = interop, future.client, future.key

    def make_again(self, entry: Entry) -> bool:
        """Write the value anew; False if nobody has the future any more, so Dask has no value."""
        from ray_on_dask.plugins._dask_compat_tasks import future_in_use

        future = future_in_use(self._client, self._key)
        if future is None:
            return False
        self._interop._write(entry, future)
        return True


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
        self._writes = itertools.count()
        #: {key of a Dask future: the ref to its value}, while there is one.
        self._refs: WeakValueDictionary[Any, ObjectRef[Any]] = WeakValueDictionary()
        self._naming = threading.Lock()

    @property
    def client(self) -> Any:
        """A client of the session's scheduler."""
        with self._lock:
            if self._client is None:
                from distributed import Client

                ask = self.process.asking.ask
                found = ask("credentials")
                self._client = Client(
                    ask("session")["scheduler_address"], set_as_default=False, name="ray_on_dask",
                    security=pickle.loads(found) if found else None,
                )  # fmt: skip
                self._own = True
            return self._client

    # -- a ref of a Dask future ---------------------------------------------------------

    def ref_of_future(self, future: Any) -> ObjectRef[Any]:
        """A ref to a Dask future's value, which a Dask task writes to the store of a node.

        That is the node that has the value, unless Dask finds it busy and moves it first.
        Errors and cancellations of the future are the ref's. As long as the ref lives, it is the
        same one for the same key.
        """
        if not _is_future(future):
            raise TypeError(f"an ObjectRef or a Dask future is expected, not {type(future)}")
        if future.client is None:
            future.bind_client(self.client)
        entry = Entry(self.process.task_ids.next() + PUT_INDEX)
        with self._naming:
            ref = self._refs.get(future.key)
            if ref is not None and ref._entry.kind != ERROR:
                return ref
            entry.share().label = "dask"
            ref = self._refs[future.key] = ref_to(entry)
        self.process.references.make_known(ref)
        try:
            self._write(entry, future)
        except BaseException as error:  # another thread may have the ref by now
            from ray_on_dask.error_serialization import dumps_error

            with self.process.lock:
                self.process.references.complete(entry, Value(ERROR, dumps_error(error)))
            raise
        return ref

    @staticmethod
    def check_may_wait(future: Any) -> None:
        """`RuntimeError` if the future cannot come while the calling thread waits for it."""
        client = getattr(future, "client", None)
        if client is not None and client.asynchronous:
            raise RuntimeError(
                "This would block the event loop that the future's own client runs in, and so wait "
                "for ever: await the future, or `await f.remote(future)`."
            )

    def _write(self, entry: Entry, future: Any) -> None:
        from ray_on_dask.plugins.dask_tasks import write_value

        written = future.client.submit(
            write_value, future, entry.id, "dask", INLINE_MAX,
            key=f"write_value-{entry.id.hex()}{next(self._writes)}", pure=False, priority=PRIORITY,
        )  # fmt: skip
        # The callback holds both futures: the value stays in the cluster until it is written.
        written.add_done_callback(lambda done, source=future: self._arrived(entry, done, source))

    def _arrived(self, entry: Entry, written: Any, source: Any) -> None:
        process = self.process
        value = _outcome(written)
        with process.lock:
            if value.kind == STORED:  # it may be lost with its node
                entry.share().keeps = Source(self, source)
            process.references.complete(entry, value)
            process.send_out()

    # -- a Dask future of a ref -----------------------------------------------------------

    def dask_futures(self, refs: Sequence[ObjectRef[Any]], client: Any = None) -> list[Any]:
        """Dask futures of refs' values, which need not be there yet; they fail as `get` would."""
        from ray_on_dask.plugins._dask_compat import ask_scheduler
        from ray_on_dask.plugins.dask_tasks import read_ref

        process, client = self.process, client or self.client
        with process.lock:
            for ref in refs:
                process.references.promote(ref)
        process.flush()
        process.asking.sync()  # the directory is to know the refs before a worker asks for them
        ids = {
            f"read_ref-{ref._entry.id.hex()}{process.task_ids.next().hex()}": ref._entry.id
            for ref in refs
        }
        ask_scheduler(client, "rod_keep", ids=ids, keeper=client.id)
        where = self._addresses(refs)
        return [
            client.submit(
                read_ref, id, key, key=key, pure=False, priority=PRIORITY, **where.get(id, {})
            )
            for key, id in ids.items()
        ]

    def _addresses(self, refs: Sequence[ObjectRef[Any]]) -> dict[bytes, dict[str, Any]]:
        """Where tasks should run that read stored objects: on the Dask workers that have them."""
        stored = [ref._entry for ref in refs if ref._entry.kind == STORED]
        nodes = self.process.asking.ask("nodes") if stored else []
        there = {x["name"]: x["address"] for x in nodes if x["alive"]}
        return {
            entry.id: {"workers": [there[entry.data.node]], "allow_other_workers": True}
            for entry in stored
            if entry.data.node in there
        }

    # -- Dask futures inside values -------------------------------------------------------

    def keeper(self, future: Any) -> ObjectRef[Any]:
        """A ref that keeps a Dask future of this process for as long as anybody has the ref."""
        ref = self.process.storing.put(None)
        ref._entry.share().keeps = future
        return ref

    def future_of_key(self, key: Any, keeper: ObjectRef[Any]) -> Any:
        """The Dask future that has come with this keeper."""
        from ray_on_dask.plugins._dask_compat import ask_scheduler
        from ray_on_dask.plugins._dask_compat_tasks import future_of_key

        shared = keeper._entry.shared
        if shared is not None and shared.keeps is not None:
            return shared.keeps
        client = self.client
        future = future_of_key(client, key)
        future.ray_on_dask_keeper = keeper
        if not ask_scheduler(client, "rod_want", key=key, wanter=client.id):
            future.cancel()  # it was cancelled, or Dask was restarted
        return future

    def close(self) -> None:
        """Close the client, if it is our own."""
        if self._own and self._client is not None:
            self._client.close()
            self._client = None


def _is_future(value: Any) -> bool:
    """Whether this is a Dask future; does not import Dask."""
    return hasattr(value, "add_done_callback") and hasattr(value, "key")


def _outcome(written: Any) -> Value:
    """What has become of a task that was to write a value; never raises.

    The error is asked for, not raised: its traceback would hold the future, and the client
    holds the error, so neither would ever go.
    """
    from ray_on_dask.error_serialization import dumps_error

    try:
        if written.status == "finished":
            kind, data, at = written.result()
            return Value(kind, data, Located(*at) if kind == STORED else None)
        error = written.exception() if written.status == "error" else None
    except BaseException as problem:  # the client was closed, the worker has just died
        error = problem
    if not isinstance(error, Exception) or type(error).__name__.endswith("CancelledError"):
        from ray_on_dask.exceptions import TaskCancelledError

        what = f": {error}" if error is not None else f" ({written.status})"
        error = TaskCancelledError(error_message=f"The Dask future was cancelled{what}.")
    return Value(ERROR, dumps_error(error))
