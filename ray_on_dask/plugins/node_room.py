"""Carries out what `core.spilling` decides: flags and questions, copies to disk, answers.

Copies are made by a thread of the node's, never by its loop. The directory for them is made when
the first object is copied: most sessions never need one.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from ray_on_dask.config import number
from ray_on_dask.core import spilling as s
from ray_on_dask.error_serialization import dumps_error
from ray_on_dask.exceptions import ObjectStoreFullError
from ray_on_dask.objectstore.spill_files import Object, SpillFiles
from ray_on_dask.objectstore.usage import UsageSlot, usage
from ray_on_dask.wire import messages as m

if TYPE_CHECKING:
    from ray_on_dask.plugins.node_store import NodeStore

logger = logging.getLogger("ray_on_dask")

#: Seconds between two looks at the count while somebody waits, and while only pressure is on.
BUSY, IDLE = 0.005, 1.0
#: Bytes that are moved at a time.
BATCH_MIN, BATCH_MAX = 1 << 20, 64 << 20
#: Objects and processes that an error names.
NAMED = 5


class NodeRoom:
    """Makes room in a node's store."""

    def __init__(self, store: NodeStore):
        self.store = store
        self.node = store.node
        capacity = self.node.capacity
        self.machine = s.Spilling(min(max(capacity // 8, BATCH_MIN), BATCH_MAX))
        self.patience = number("store-wait", 30.0)
        #: What threads of this process wait for that write objects of other hosts.
        self._own: dict[int, Future[None]] = {}
        self._numbers = itertools.count(1)
        self._slot: UsageSlot | None = None
        self._files: SpillFiles | None = None
        self._lock = -1
        self._thread: ThreadPoolExecutor | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def slot(self) -> UsageSlot:
        """The node's own entry in the count: what is promised to processes."""
        if self._slot is None:
            self._slot = UsageSlot(self.node.directories.shm_dir, self.node.capacity)
        return self._slot

    # -- messages -----------------------------------------------------------------------------

    def need(self, process: str, message: m.NeedRoom) -> None:
        """A process waits for room."""
        if self._closed:
            if process == self.node.name:  # a thread of this process's, which came too late
                self._answer((process, message.request), ConnectionError("the node has ended"))
            return
        request, now = (process, message.request), self.node.now()
        self.machine.need(request, message.size, message.no_memory, now, self.patience)
        self.work()

    def wait(self, size: int, no_memory: bool) -> Callable[[], None]:
        """Block a thread of this process until there is room; as `Store` has it."""
        loop = self.node.loop
        assert loop is not None
        request, answer = next(self._numbers), Future[None]()
        self._own[request] = answer
        name = self.node.name
        loop.call_soon_threadsafe(self.need, name, m.NeedRoom(request, size, no_memory))
        answer.result()

        def took() -> None:
            loop.call_soon_threadsafe(self.took, name, m.TookRoom(request))

        return took

    def _answer(self, request: s.Request, error: Exception | None = None) -> None:
        process, number = request
        if process == self.node.name:
            own = self._own.pop(number)
            own.set_result(None) if error is None else own.set_exception(error)
            return
        self.store.send(process, m.Room(number, dumps_error(error) if error else b""))

    def took(self, process: str, message: m.TookRoom) -> None:
        """It has counted what was promised to it."""
        self._uncharge(self.machine.took((process, message.request)))

    def viewed(self, process: str, message: m.Viewed) -> None:
        """It says what it reads."""
        self.machine.viewed(process, message.epoch, message.ids)
        self.changed()

    def process_gone(self, process: str) -> list[bytes]:
        """It is dead: what nobody reads now."""
        unread, promised = self.machine.process_gone(process)
        self._uncharge(promised)
        self.changed()
        return unread

    def _uncharge(self, size: int) -> None:
        if size:
            self.slot.add(-size)

    def changed(self) -> None:
        """Something may be possible now that was not."""
        if self.machine.waiting:
            self.work()

    # -- instructions ----------------------------------------------------------------------------

    def work(self) -> None:
        """Do what the state machine says; again soon, for as long as there is something to do."""
        if self._closed:
            return
        machine = self.machine
        for what in machine.work(self.node.now(), self.slot.charge, self.store.readers()):
            self._do(what)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if machine.waiting or machine.pressed:
            delay = BUSY if machine.waiting else IDLE
            self._timer = asyncio.get_running_loop().call_later(delay, self.work)

    def _do(self, what: s.Instruction) -> None:
        if isinstance(what, s.GiveRoom):
            self._answer(what.request)
        elif isinstance(what, s.Refuse):
            self._refuse(what)
        elif isinstance(what, s.Press):
            self.slot.set_pressed(True)
            for process in what.processes:
                self.store.send(process, m.Pressure(what.epoch))
        elif isinstance(what, s.Relax):
            self.slot.set_pressed(False)
        else:
            self._spill(what.ids)

    def _spill(self, ids: tuple[bytes, ...]) -> None:
        known = self.store.objects.objects
        objects = [(id, known[id].at) for id in ids]
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="ray_on_dask-spill")
        loop = asyncio.get_running_loop()
        copying = loop.run_in_executor(self._thread, self._copy, objects)
        copying.add_done_callback(lambda done: self._copied(ids, done))

    def _copy(self, objects: list[Object]) -> list[Object]:
        """In the thread."""
        if self._files is None:
            directories, base = self.node.directories, self.node.options.spill_directory
            path, self._lock = directories.make_spill_directory(base)
            self._files = SpillFiles(path, self.node.name)
        return self._files.write(objects)

    def _copied(self, ids: tuple[bytes, ...], done: asyncio.Future[list[Object]]) -> None:
        if self._closed or done.cancelled():
            return
        error = done.exception()
        if error is not None:
            logger.warning("objects could not be moved to disk: %s", error)
            for refused in self.machine.failed(str(error)):
                self._refuse(refused)
            return
        copies = dict(done.result())
        moved = self.machine.spilled(copies, self.node.now())
        for id in moved:
            self.store.moved(id, copies[id])
        for path in {at.segment for at in copies.values()}:
            if path not in self.store.objects.files:  # all of it was opened or freed meanwhile
                os.unlink(path)
        self.work()

    # -- errors ------------------------------------------------------------------------------------

    def _refuse(self, what: s.Refuse) -> None:
        self._answer(what.request, ObjectStoreFullError(self.explain(what.size, what.disk)))

    def explain(self, size: int, disk: str = "") -> str:
        """Why there is no room for `size` bytes, and who has it."""
        machine, node = self.machine, self.node
        used = usage(node.directories.shm_dir)
        why = f"within {self.patience:g} s"
        if disk:
            why = f"and what is there cannot be moved to disk ({disk})"
        lines = [
            f"no room for an object of {size:,} bytes on node {node.name[:16]} {why}: "
            f"{sum(used.values()):,} of {node.capacity:,} bytes are used, "
            f"{sum(machine.disk.values()):,} more are on disk. Let go of refs and of arrays that "
            "came from `get`, or start with a larger `object_store_memory`."
        ]
        if machine.unanswered:
            silent = ", ".join(sorted(map(self._who, machine.unanswered)))
            lines.append(f"  not told yet what they read, so that nothing can be moved: {silent}")
        largest = heapq.nlargest(NAMED, machine.memory.items(), key=lambda item: item[1])
        for id, length in largest:
            readers = ", ".join(sorted(map(self._who, machine.pins.readers(id))))
            key = self.store.objects.objects[id].key
            lines.append(f"  {length:,} bytes: {key}, read by {readers or 'nobody'}")
        for pid, length in heapq.nlargest(NAMED, used.items(), key=lambda item: item[1]):
            if length and pid != os.getpid():
                lines.append(f"  {length:,} bytes in all were written by process {pid}")
        return "\n".join(lines)

    def _who(self, process: str) -> str:
        line = self.node.lines.get(process)
        return f"{line.kind} {line.pid}" if line is not None else process

    def figures(self) -> dict[str, int]:
        """For people: objects and bytes on disk, and objects that are kept in memory by readers."""
        disk = self.machine.disk
        return {
            "spilled": sum(disk.values()), "spilled_objects": len(disk),
            "pinned": len(self.machine.pins), "pressed": int(self.machine.pressed),
            "waiting": len(self.machine.needs),
        }  # fmt: skip

    def close(self) -> None:
        """The node ends; its directories are removed by others."""
        self._closed = True
        for own in list(self._own):
            self._answer((self.node.name, own), ConnectionError("the node has ended"))
        if self._timer is not None:
            self._timer.cancel()
        if self._thread is not None:
            self._thread.shutdown(wait=False, cancel_futures=True)
        if self._slot is not None:
            self._slot.close(release=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def figures_of(node: Any) -> dict[str, int]:
    """The store of one node in numbers: bytes but for `objects`, `spilled_objects`, `pinned`
    (objects that are known to be read), `waiting` (puts that wait for room), `pressed` (0 or 1).
    """
    from ray_on_dask.objectstore.usage import mapped_usage, warm_usage

    directory = node.directories.shm_dir
    return {
        "capacity": node.capacity, "objects": len(node.store.objects.objects),
        "used": sum(usage(directory).values()), "warm": sum(warm_usage(directory).values()),
        "mapped": sum(mapped_usage(directory).values()), **node.store.room.figures(),
    }  # fmt: skip
