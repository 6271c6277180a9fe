"""A line to an executor: straight to its socket, or through the hub if that is on another host."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ray_on_dask.runtime import shared_serializers
from ray_on_dask.wire import messages as m
from ray_on_dask.wire.channel import Channel, connect

if TYPE_CHECKING:
    from ray_on_dask.runtime.process import Process


def open_line(
    process: Process,
    executor: str,
    address: str,
    node: str,
    on_close: Callable[[Channel], None],
) -> Channel | None:
    """A channel on which the executor has been greeted; None if it is gone.

    Parameters
    ----------
    address : str
        Its socket; "" if it can only be reached through the hubs of both nodes.
    node : str
        Where it is.
    """
    try:
        sock = connect(address or process.hub_path)
    except OSError:
        return None
    line = Channel(sock, process.reactor, process.on_messages, on_close)
    line.peer = executor
    if not address:
        line.send(m.Relay(executor, node, process.name))
    line.send(m.Hello(process.name, "owner", 0))
    shared_serializers.introduce(process, line)
    return line
