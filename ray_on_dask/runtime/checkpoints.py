"""What an actor begins with when it starts again, in the two ways of the old API.

With `checkpoint_interval=n` the actor's state is saved after each n calls: what `__ray_save__`
gives, or else the whole instance, pickled. The next incarnation is made of it by `__ray_restore__`
(without `__init__`), or is the pickled instance. A `Checkpointable` saves its state itself,
wherever it likes, and only the list of its checkpoints is kept here.

What is kept goes to the control store, the one place that outlives the actor's process and node. It
is sent before the result of the call after which it was taken: a caller that has its result
finds its effect after a restart.
"""

from __future__ import annotations

import os
import pickle
import threading
import time
from typing import TYPE_CHECKING, Any

from ray_on_dask.ids import ActorID, UniqueID
from ray_on_dask.serialization import deserialize, serialize, to_bytes
from ray_on_dask.wire import messages as m

if TYPE_CHECKING:
    from ray_on_dask.runtime.actor_host import ActorHost

#: Bytes of state that the control store keeps for an actor, in its memory.
STATE_MAX = 64 << 20
#: Checkpoints of a `Checkpointable` that may be loaded.
KEPT = 20


def checkpoints_of(host: ActorHost, cls: Any) -> ByInterval | ByChoice | None:
    """How the actor's class has its state saved, if it has."""
    if host.spec.checkpoint_interval > 0:
        return ByInterval(host)
    if hasattr(cls, "save_checkpoint"):
        from ray_on_dask.api.checkpointable import Checkpointable

        if issubclass(cls, Checkpointable):
            return ByChoice(host)
    return None


class ByInterval:
    """After each so many calls the whole state is saved."""

    #: The instance comes out of the checkpoint.
    replaces_init = True

    def __init__(self, host: ActorHost) -> None:
        self.host = host
        self._lock = threading.Lock()
        self._calls = 0

    def after_call(self) -> None:
        """A call has ended, and its result is not sent yet."""
        with self._lock:  # of threads that end at once the later state is to be sent later
            self._calls += 1
            if self._calls % self.host.spec.checkpoint_interval == 0:
                try:
                    self._save()
                except Exception as error:
                    report(self.host, "save", error)

    def _save(self) -> None:
        instance = self.host.instance
        save = getattr(instance, "__ray_save__", None)
        serialized = serialize(instance if save is None else save())
        if serialized.size > STATE_MAX:
            raise ValueError(
                f"The state of {self.host.spec.class_name} takes {serialized.size:,} bytes, and a "
                f"checkpoint at most {STATE_MAX:,}: derive it from ray.actor.Checkpointable, and "
                "save it where there is room"
            )
        send(self.host, to_bytes(serialized), list(serialized.inner))

    def restore(self, saved: bytes) -> None:
        """Make the instance of what was saved."""
        host, state = self.host, deserialize(saved)
        if hasattr(host.instance, "__ray_restore__"):
            host.instance.__ray_restore__(state)
        else:
            host.instance = state


class ByChoice:
    """The class decides after each call, and saves its state itself."""

    replaces_init = False

    def __init__(self, host: ActorHost) -> None:
        self.host = host
        self.id = ActorID(host.id)
        self._lock = threading.Lock()
        self._calls = 0
        self._last = time.monotonic()
        #: (id, milliseconds since 1970), latest first.
        self._there: list[tuple[bytes, int]] = []

    def after_call(self) -> None:
        """A call has ended, and its result is not sent yet."""
        with self._lock:
            self._calls += 1
            try:
                self._maybe_save()
            except Exception as error:
                report(self.host, "save", error)

    def _maybe_save(self) -> None:
        from ray_on_dask.api.checkpointable import CheckpointContext

        instance, now = self.host.instance, time.monotonic()
        passed = int((now - self._last) * 1000)
        if not instance.should_checkpoint(CheckpointContext(self.id, self._calls, passed)):
            return
        id = os.urandom(UniqueID.SIZE)
        instance.save_checkpoint(self.id, UniqueID(id))
        self._calls, self._last = 0, now
        self._there.insert(0, (id, int(time.time() * 1000)))
        expired = self._there[KEPT:]
        del self._there[KEPT:]
        send(self.host, pickle.dumps(self._there), [])
        for gone, _ in expired:
            instance.checkpoint_expired(self.id, UniqueID(gone))

    def restore(self, saved: bytes) -> None:
        """Have the instance load one of its checkpoints.

        Raises
        ------
        ValueError
            If it says that it has loaded one that there is not.
        """
        from ray_on_dask.api.checkpointable import Checkpoint

        self._there = pickle.loads(saved)
        there = [Checkpoint(UniqueID(id), at) for id, at in self._there]
        loaded = self.host.instance.load_checkpoint(self.id, there)
        if loaded is not None and loaded not in [checkpoint.checkpoint_id for checkpoint in there]:
            raise ValueError(
                f"load_checkpoint of {self.host.spec.class_name} must return None or the id of an "
                f"available checkpoint, but returned {loaded!r}"
            )


def send(host: ActorHost, data: bytes, refs: list[Any]) -> None:
    """Have the control store keep this for the actor's next incarnation, and hold these refs."""
    executor = host.executor
    with executor.lock:
        for ref in refs:
            executor.references.promote(ref)
        inner = [ref._entry.id for ref in refs]
        executor.to_hub(m.SaveCheckpoint(host.id, host.incarnation, data, inner))
        executor.send_out()


def report(host: ActorHost, what: str, error: Exception) -> None:
    """A checkpoint has failed: the actor goes on with the one before, and people are told."""
    from ray_on_dask.exceptions import from_exception

    executor, name = host.executor, f"{host.spec.class_name}.{what}_checkpoint"
    made = from_exception(name, error, pid=os.getpid(), ip=executor.ip, proctitle=f"ray::{name}")
    task = m.Task(host.id, host.spec.function, host.spec.args, method=f"{what}_checkpoint")
    executor.report_error(task, made)
