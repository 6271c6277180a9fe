"""Everything of `distributed` and `dask` that is not public: one function each, and nowhere else.

What has to do with the size of a cluster is in `_dask_compat_size`, for length alone.

`check` says at start-up, in one sentence, if a release has changed what is used here; the tests
under `tests/plugins/test_dask_compat.py` say it function by function.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterable
from typing import Any

logger = logging.getLogger("ray_on_dask")

#: The client that wants all keys of this package's: registered and released by the scheduler.
CLIENT = "ray_on_dask"


def check(scheduler: Any) -> list[str]:
    """What this module needs of a scheduler and does not find; [] if all is well."""
    missing = [
        name
        for name in (
            "stream_handlers", "handlers", "extensions", "worker_send", "update_data",
            "client_desires_keys", "client_releases_keys", "http_application", "idle_since",
            "task_prefixes", "adaptive_target", "retire_workers", "workers_to_close",
            "remove_worker",
        )
        if not hasattr(scheduler, name)
    ]  # fmt: skip
    parameters = inspect.signature(type(scheduler).update_data).parameters
    missing += [f"update_data({name}=)" for name in ("who_has", "nbytes", "client")
                if name not in parameters]  # fmt: skip
    return missing


# -- scheduler: messages -----------------------------------------------------------------


def claim(scheduler: Any, name: str, plugin: Any) -> bool:
    """Be the one plugin of that name, or learn that another is."""
    return scheduler.extensions.setdefault(name, plugin) is plugin


def disown(scheduler: Any, name: str) -> None:
    """No longer be it."""
    scheduler.extensions.pop(name, None)


def claimed(scheduler: Any, name: str) -> Any:
    """The plugin that has claimed a name, or None."""
    return scheduler.extensions.get(name)


def on_rpc(scheduler: Any, handlers: dict[str, Callable[..., Any]]) -> None:
    """Answer these calls of clients (`client.scheduler.<name>`)."""
    scheduler.handlers.update(handlers)


def on_stream(server: Any, handlers: dict[str, Callable[..., Any]]) -> None:
    """Take these messages of a stream, of a scheduler's or a worker's.

    A handler that raised would end the stream, and with it the worker or all of a client's
    futures: what one of ours raises, whatever it was given, is logged instead.
    """
    server.stream_handlers.update({name: _guarded(call) for name, call in handlers.items()})


def _guarded(handler: Callable[..., Any]) -> Callable[..., None]:
    def guarded(**message: Any) -> None:
        try:
            handler(**message)
        except Exception:
            logger.exception("could not handle a message that came on a stream of Dask's")

    return guarded


def off_stream(server: Any, names: Iterable[str]) -> None:
    """Take them no longer: such a message would now end the stream."""
    for name in names:
        server.stream_handlers[name] = _ignore


def _ignore(**_: Any) -> None:
    """A message that came too late."""


def send_to_worker(scheduler: Any, address: str, message: dict[str, Any]) -> bool:
    """Send on the worker's stream; False if it is gone."""
    if address not in scheduler.stream_comms:
        return False
    scheduler.worker_send(address, message)
    return True


async def remove_worker(scheduler: Any, address: str) -> None:
    """A worker is dead, whatever its connection says: nothing is waited for from it any more."""
    await scheduler.remove_worker(address=address, stimulus_id="ray_on_dask-dead", close=True)


def hurry_stream(scheduler: Any, address: str) -> None:
    """Send what goes to this worker at once, not every few milliseconds."""
    comm = scheduler.stream_comms.get(address)
    if comm is not None:
        comm.interval = 0


def hurry_worker_stream(worker: Any) -> None:
    """The same for what this worker sends."""
    worker.batched_stream.interval = 0


def has_lost_scheduler(worker: Any) -> bool:
    """Whether the connection to the scheduler is gone, which is why the worker closes."""
    stream = worker.batched_stream
    return stream is None or stream.comm is None or bool(stream.comm.closed())


def send_to_scheduler(worker: Any, message: dict[str, Any]) -> None:
    """Send on the worker's own stream."""
    worker.batched_send(message)


async def add_worker_plugin(scheduler: Any, plugin: Any) -> dict[str, str]:
    """Give a plugin to all workers, present and to come; {worker: why} where it did not start."""
    from distributed.protocol.pickle import dumps

    replies = await scheduler.register_worker_plugin(
        None, dumps(plugin), plugin.name, idempotent=True
    )
    return {
        worker: str(reply.get("exception_text"))
        for worker, reply in (replies or {}).items()
        if isinstance(reply, dict) and reply.get("status") in ("error", "uncaught-error")
    }


def give_to_future_workers(scheduler: Any, plugin: Any) -> None:
    """Give a plugin to all workers to come, but not to those that are there."""
    from distributed.protocol.pickle import dumps

    scheduler.worker_plugins[plugin.name] = dumps(plugin)


# -- scheduler: keys ----------------------------------------------------------------------


def register_objects(scheduler: Any, worker: str, sizes: dict[str, int]) -> None:
    """Objects that lie with a worker are Dask keys from now on, wanted by our pseudo-client."""
    if sizes and worker in scheduler.workers:
        scheduler.update_data(who_has={key: [worker] for key in sizes}, nbytes=sizes, client=CLIENT)


def release_objects(scheduler: Any, keys: Iterable[str]) -> None:
    """Nobody of ours wants these keys any more."""
    if CLIENT in scheduler.clients:
        known = [key for key in keys if key in scheduler.tasks]
        if known:
            scheduler.client_releases_keys(keys=known, client=CLIENT)


def running_tasks(scheduler: Any, address: str) -> int:
    """Tasks of Dask's own that a worker has been given; those that have seceded do not count."""
    state = scheduler.workers.get(address)
    if state is None:
        return 0
    return min(len(state.processing) - len(state.long_running), int(state.nthreads))


def keep_awake(scheduler: Any) -> None:
    """The scheduler is not idle, whatever its own tasks say."""
    scheduler.idle_since = None


# -- scheduler: what people see ----------------------------------------------------------------


def show_runs(
    scheduler: Any, worker: str, thread: int, runs: Iterable[tuple[str, float, float, bool]]
) -> None:
    """Put (key, start, stop, ok) on the Task Stream, in the row of `thread`, if there is one."""
    stream = scheduler.plugins.get("task-stream")
    if stream is None:
        return
    for key, start, stop, ok in runs:
        stream.buffer.append(
            {
                "key": key, "worker": worker, "thread": thread, "nbytes": 0, "type": b"",
                "typename": "", "status": "OK" if ok else "error", "stimulus_id": CLIENT,
                "startstops": ({"action": "compute", "start": start, "stop": stop},),
            }
        )  # fmt: skip
        stream.index += 1


def start_task_stream(scheduler: Any) -> None:
    """Keep task runs from now on, as Dask does once somebody looks at them."""
    from distributed.diagnostics.task_stream import TaskStreamPlugin

    if TaskStreamPlugin.name not in scheduler.plugins:
        scheduler.add_plugin(TaskStreamPlugin(scheduler))


def show_counts(scheduler: Any, counts: dict[str, tuple[int, int]]) -> None:
    """Count {function: (done, failed)} on the Progress page."""
    from distributed.scheduler import TaskPrefix

    for name, (done, failed) in counts.items():
        prefix = scheduler.task_prefixes.get(name)
        if prefix is None:
            prefix = scheduler.task_prefixes[name] = TaskPrefix(name)
        prefix.states["released"] += done
        prefix.states["erred"] += failed


def figures(scheduler: Any, address: str) -> dict[str, Any]:
    """What a worker has measured for us last, {} if nothing."""
    state = scheduler.workers.get(address)
    return {} if state is None else dict(state.metrics.get(CLIENT) or {})


def load_dashboard() -> None:
    """Import Dask's dashboard, in any thread; `ImportError` without Bokeh."""
    import distributed.dashboard.scheduler  # noqa: F401


def add_application(scheduler: Any, application: Any) -> None:
    """Have an application answer for all paths that the scheduler itself does not know."""
    scheduler.http_application.add_application(application)


def show_dashboard(scheduler: Any, instead_of: Any = None) -> None:
    """Serve the dashboard's pages on the scheduler's HTTP port."""
    from distributed.dashboard.scheduler import connect

    if instead_of in scheduler.http_application.applications:
        scheduler.http_application.applications.remove(instead_of)
    connect(scheduler.http_application, scheduler.http_server, scheduler, prefix="")


def has_dashboard(scheduler: Any) -> bool:
    """Whether the scheduler serves Dask's pages itself (and so has Bokeh)."""
    import sys

    return "distributed.dashboard.scheduler" in sys.modules and any(
        "bokeh" in type(x).__module__ or "dashboard" in type(x).__module__
        for x in scheduler.http_application.applications
    )


def page_parts() -> Any:
    """What Dask's pages are made with: `loader`, `theme`, `every`, `update`; needs Bokeh."""
    from types import SimpleNamespace

    from distributed.dashboard.components import add_periodic_callback
    from distributed.dashboard.components.scheduler import BOKEH_THEME, env
    from distributed.dashboard.utils import update

    return SimpleNamespace(
        loader=env.loader, theme=BOKEH_THEME, every=add_periodic_callback, update=update
    )


def add_pages(scheduler: Any, pages: dict[str, Any], menu: list[tuple[str, str]]) -> None:
    """Serve further pages; the first is in Dask's menu, (path, name) of all under "More…"."""
    from distributed.dashboard.core import BokehApplication
    from distributed.dashboard.scheduler import template_variables
    from tornado.ioloop import IOLoop

    variables = template_variables(scheduler)  # one object, shared by all pages of the scheduler
    first = menu[0][0]
    if first not in variables["pages"]:
        variables["pages"].insert(1, first)
        variables["plots"] += [{"url": url, "name": name} for url, name in menu]
        variables["plots"].sort(key=lambda plot: plot["name"])
    application = BokehApplication(pages, scheduler, prefix="", template_variables=variables)
    scheduler.http_application.add_application(application)
    application.initialize(IOLoop.current())
    application.start()


def dashboard_url(scheduler: Any) -> str:
    """Where the status page is, "" if the scheduler has no HTTP server."""
    server = getattr(scheduler, "http_server", None)
    if server is None:
        return ""
    host = "127.0.0.1" if server.address in ("0.0.0.0", "::") else server.address
    return f"http://{host}:{server.port}/status"


def add_routes(server: Any, routes: list[tuple[str, type, dict[str, Any]]]) -> None:
    """Serve these on the server's HTTP port."""
    server.http_application.add_handlers(".*$", routes)


# -- worker ----------------------------------------------------------------------------------


def add_data(worker: Any, data: dict[str, Any]) -> None:
    """Put values into a worker's memory, as results are."""
    worker.update_data(data)


async def connect_to(worker: Any, address: str, timeout: float) -> Any:
    """A comm to another server, with this worker's credentials; `OSError` if it cannot be had."""
    return await connect_as(address, timeout, worker.connection_args)


async def connect_as(address: str, timeout: float, arguments: dict[str, Any]) -> Any:
    """A comm to a server, with the credentials that `arguments` are made of."""
    from distributed.core import connect

    return await connect(address, timeout=timeout, **arguments)


def connection_arguments(security: Any) -> dict[str, Any]:
    """What a client of this `Security` connects with."""
    arguments: dict[str, Any] = security.get_connection_args("client")
    return arguments


def as_frame(data: Any) -> Any:
    """Bytes that travel within a message uncopied, beside it; they arrive as a memoryview."""
    from distributed.protocol import to_serialize

    return to_serialize(memoryview(data))  # `bytes` would be joined anew when they arrive


def on_calls(worker: Any, handlers: dict[str, Callable[..., Any]]) -> None:
    """Answer these calls of whoever connects to the worker."""
    worker.handlers.update(handlers)


def off_calls(worker: Any, names: Iterable[str]) -> None:
    """Answer them no longer."""
    for name in names:
        worker.handlers.pop(name, None)


def scheduler_address(worker: Any) -> str:
    """Where the worker's scheduler is."""
    return str(worker.scheduler.address)


def worker_host(worker: Any) -> str:
    """The address of the interface that the worker listens on, "" if it is no number."""
    from distributed.comm.addressing import get_address_host

    try:
        return str(get_address_host(worker.address))
    except (ValueError, NotImplementedError):  # an in-process worker, of tests
        return ""


def worker_memory(worker: Any) -> int | None:
    """Bytes of memory that a worker may use, None if it may use all there is."""
    limit: int | None = worker.memory_manager.memory_limit
    return limit


def worker_resources(worker: Any) -> dict[str, float]:
    """What `dask worker --resources` was given."""
    return dict(worker.state.total_resources)


def add_figures(worker: Any, measure: Callable[[], dict[str, Any]]) -> None:
    """Have these figures travel with the worker's heartbeat, sums of them for the page Workers."""
    last: dict[str, Any] = {}

    def look(worker: Any) -> dict[str, Any]:
        last.clear()
        last.update(measure())
        return dict(last)

    worker.metrics[CLIENT] = look
    worker.metrics["ray executors"] = lambda worker: len(last.get("executors", ()))
    worker.metrics["ray executors' MiB"] = lambda worker: (
        sum(seen[1] for seen in last.get("executors", {}).values()) >> 20
    )
    worker.metrics["ray store MiB"] = lambda worker: last.get("store", {}).get("used", 0) >> 20


def drop_figures(worker: Any) -> None:
    """Measure no more."""
    for name in [name for name in worker.metrics if name.startswith("ray ") or name == CLIENT]:
        del worker.metrics[name]


# -- client ------------------------------------------------------------------------------------


def ask_scheduler(client: Any, name: str, **args: Any) -> Any:
    """Call one of our RPC handlers, from a client of any kind, blocking."""
    return client.sync(getattr(client.scheduler, name), **args)
