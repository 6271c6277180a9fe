"""What is not public of Dask's tasks, graphs and credentials: a part of `_dask_compat`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray_on_dask.plugins._dask_compat import CLIENT


def worker_plugin(worker: Any, name: str) -> Any:
    """A worker's plugin of that name, or None."""
    return worker.plugins.get(name)


def secede(worker: Any, key: Any) -> None:
    """A coroutine that runs as this task waits from now on, and takes no thread's place."""
    from distributed.worker_state_machine import SecedeEvent

    worker.loop.add_callback(
        worker.handle_stimulus,
        SecedeEvent(key=key, compute_duration=0.0, stimulus_id=f"{CLIENT}-secede"),
    )


def is_wanted(worker: Any, key: Any) -> bool:
    """Whether anybody still wants the outcome of a task that runs on this worker."""
    task = worker.state.tasks.get(key)
    return task is not None and task.state not in ("cancelled", "forgotten", "released")


def graph_of(expression: Any) -> Any:
    """The graph of an expression, optimized."""
    graph = getattr(expression, "_optimized_dsk", None)
    return expression.__dask_graph__() if graph is None else graph


def graph_nodes(graph: Any) -> dict[Any, Any]:
    """A graph in Dask's one form of today: each key a `Task`, a `DataNode` or an `Alias`."""
    from dask._task_spec import convert_legacy_graph

    return dict(convert_legacy_graph(graph))


# -- clients ------------------------------------------------------------------------------------


def want_object(scheduler: Any, key: Any, client: str) -> None:
    """A real client wants a key too."""
    scheduler.client_desires_keys(keys=[key], client=client)


def credentials(scheduler: Any) -> bytes:
    """What a client needs to be let in (a pickled `Security`), b"" if it needs nothing."""
    import pickle

    return pickle.dumps(scheduler.security) if scheduler.address.startswith("tls") else b""


def future_of_key(client: Any, key: Any) -> Any:
    """A future of a key; to be made before the client wants it, or its state may be missed."""
    from distributed import Future

    return Future(key, client)


def future_in_use(client: Any, key: Any) -> Any:
    """A future of a key of which the client has one, whatever has become of it; else None."""
    return future_of_key(client, key) if key in client.futures else None


def guard_listeners(server: Any, may: Callable[[tuple[str, int], tuple[str, int]], bool]) -> None:
    """Hang up on whoever connects to a server by TCP and `may` not: ``may(their end, our end)``."""
    for listener in server.listeners:
        accepting = getattr(listener, "tcp_server", None)
        if accepting is not None:
            accepting.handle_stream = _guarded(accepting.handle_stream, may)


def _guarded(handle: Callable[..., Any], may: Callable[..., bool]) -> Callable[..., Any]:
    async def guarded(stream: Any, address: Any) -> None:
        try:
            allowed = may(address[:2], stream.socket.getsockname()[:2])
        except (OSError, ValueError):
            allowed = False
        if allowed:
            await handle(stream, address)
        else:
            stream.close()

    return guarded
