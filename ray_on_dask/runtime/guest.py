"""A guest: what reads and writes objects of a session within a Dask worker, for Dask's own tasks.

It is a member of the session like any other: what it reads it holds, so a value that a Dask task
got of a ref keeps its bytes in shared memory for as long as the value lives, and what it writes
belongs to whoever asked for it. It is made when a Dask task first needs it.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ray_on_dask.ids import new_process_name
from ray_on_dask.runtime import current
from ray_on_dask.runtime.process import Process
from ray_on_dask.wire.messages import Hello

#: Values that are read at a time for tasks that wait for refs.
READERS = 8
_lock = threading.Lock()


class Guest(Process):
    """A node's member for Dask's tasks.

    Parameters
    ----------
    node : NodeManager
        Of this very process.
    """

    kind = "guest"

    def __init__(self, node: Any):
        super().__init__(new_process_name(), node.hub_path)
        self.node = node.name
        self.storing.configure(node.directories.shm_dir, node.capacity)
        #: Read values for the worker's event loop. Not its own threads: those have to be there for
        #: what the node does meanwhile, as to make room for an object that such a read waits for.
        self.readers = ThreadPoolExecutor(READERS, thread_name_prefix="ray_on_dask-read")
        self.hub.send(Hello(self.name, "guest", os.getpid()))
        current.guests.append(self)
        self.reactor.start()

    def close(self) -> None:
        """Leave the session."""
        if self in current.guests:
            current.guests.remove(self)
        super().close()
        self.readers.shutdown(wait=False, cancel_futures=True)


def guest_of(node: Any) -> Guest:
    """The guest of a node, made now if there is none yet; from any thread but the node's loop."""
    with _lock:
        guest: Guest | None = node.guest
        if guest is None or guest.closing:
            guest = node.guest = Guest(node)
        return guest
