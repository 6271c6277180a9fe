"""Serializers of the user's, in every process that works for this one.

What `register_serializer` is told goes to each executor that this process has a line to, before
any task that is sent later, and first of all on each new line. An executor registers it for
itself, and so hands it on to those that work for it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from ray_on_dask import serialization
from ray_on_dask.wire.channel import Channel
from ray_on_dask.wire.messages import Serializer

if TYPE_CHECKING:
    from ray_on_dask.runtime.process import Process

logger = logging.getLogger("ray_on_dask")

#: {class: what others are told of it}.
_told: dict[type, bytes] = {}


def share(process: Process | None, cls: type, functions: tuple[Any, Any] | None) -> None:
    """Tell the executors that work for `process` of a class's serializer, or that it has none."""
    import cloudpickle

    try:
        pickled: bytes = cloudpickle.dumps((cls, functions), protocol=5)
    except Exception as error:
        logger.warning(
            "register_serializer: what was given for %s cannot be pickled (%s); it counts in this "
            "process alone", cls, error,
        )  # fmt: skip
        return
    if _told.get(cls) == pickled or (functions is None and cls not in _told):
        return
    if functions is None:
        del _told[cls]
    else:
        _told[cls] = pickled
    if process is not None:
        with process.lock:
            process.executor_lines = [line for line in process.executor_lines if not line.closed]
            for line in process.executor_lines:
                line.send(Serializer(pickled))


def introduce(process: Process, line: Channel) -> None:
    """A new line to an executor: tell it all there is."""
    if _told:
        line.send_all([Serializer(pickled) for pickled in list(_told.values())])
    process.executor_lines.append(line)
    if len(process.executor_lines) > 64:
        process.executor_lines = [line for line in process.executor_lines if not line.closed]


def receive(channel: Channel, message: Serializer) -> None:
    """An owner tells of a serializer."""
    import pickle

    cls, functions = pickle.loads(message.pickled)
    if functions is None:
        serialization.deregister_serializer(cls)
    else:
        serializer, deserializer = functions
        serialization.register_serializer(cls, serializer=serializer, deserializer=deserializer)
