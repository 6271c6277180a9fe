"""`init` and `shutdown`: the session's begin and end."""

from __future__ import annotations

import atexit
import logging
import threading
from typing import Any

from ray_on_dask.api import session as sessions
from ray_on_dask.api.context import RayContext, address_info
from ray_on_dask.api.init_options import InitOptions
from ray_on_dask.runtime import current

logger = logging.getLogger("ray_on_dask")

_lock = threading.RLock()
#: The local head that this process has started, and the context that `init` returned.
_head: Any = None
_context: RayContext | None = None
_at_exit = False


def init(address: Any = None, *args: Any, **given: Any) -> RayContext:
    """Begin a session: start a local cluster, or join one that runs.

    Parameters
    ----------
    address : str, distributed.Client or cluster object, optional
        ``"tcp://host:port"`` (or ``"tls://…"``) of a Dask scheduler, ``"auto"`` for the cluster
        that was last started on this machine, ``"local"`` for a new one; a `distributed.Client`
        or `Cluster`. Default: ``RAY_ON_DASK_ADDRESS`` or ``RAY_ADDRESS`` in the environment, the
        ``ray-on-dask.address`` key of the Dask configuration, else a new local cluster.
    **given
        `docs/compatibility.md` lists all arguments, of the old API and the new: ``num_cpus``,
        ``num_gpus``, ``resources``, ``object_store_memory``, ``namespace``, ``runtime_env``,
        ``local_mode``, ``log_to_driver``, ``ignore_reinit_error``, ``redis_address``,
        ``num_workers``, ``driver_mode``, ``redirect_output``, ``object_id_seed``, ….

    Returns
    -------
    RayContext
        A context manager; also a mapping with the addresses, as the oldest API returned.

    Raises
    ------
    RuntimeError
        For unknown arguments, and when there is a session already (unless
        ``ignore_reinit_error=True``).
    ValueError
        When resources are given together with an address: they belong to the cluster.
    ConnectionError
        When there is no cluster at the address.
    """
    global _context
    options = InitOptions.parse(address, args, given)
    with _lock:
        if sessions.started():
            if options.ignore_reinit_error and _context is not None:
                logger.info("Calling ray.init() again after it has already been called.")
                return _context
            raise RuntimeError(
                "Maybe you called ray.init twice by accident? This error can be suppressed by "
                "passing in 'ignore_reinit_error=True' or by calling 'ray.shutdown()' prior to "
                "'ray.init()'."
            )
        current.gone = ""
        _set_up_logging(options)
        start = _start_local_mode if options.local_mode else _start
        _context = start(options)
        _on_exit()
        return _context


def _set_up_logging(options: InitOptions) -> None:
    from ray_on_dask.api import logging_setup

    if options.logging_config is not None:
        logging_setup.apply(options.logging_config)
    elif options.configure_logging:
        logging_setup.configure(options.logging_level, options.logging_format)


def _start_local_mode(options: InitOptions) -> RayContext:
    from ray_on_dask.runtime.local_mode import LocalSession

    sessions.set_local(LocalSession(options))
    return RayContext({"node_ip_address": "127.0.0.1", "address": "local_mode"})


def _start(options: InitOptions) -> RayContext:
    global _head
    from ray_on_dask.runtime import joining

    begun = joining.begin_head(options) if options.starts_cluster else None
    try:
        # What a driver is made of takes a fifth as long to import as the head needs to come up.
        from ray_on_dask.api import connecting

        if begun is not None:
            _head = joining.wait_for_head(begun)
            hub = _head.facts["hub"]
        else:
            hub, options.client, _head = joining.find_hub(options)
        driver = connecting.connect(hub, options)
    except BaseException:
        if _head is not None:
            _head.stop()
            _head = None
        elif begun is not None:
            begun.kill()
            begun.wait()
        raise
    connecting.enter(driver, options)
    context = RayContext(address_info(driver))
    if options.configure_logging:
        _announce(context)
    return context


def _announce(context: RayContext) -> None:
    url = context.dashboard_url
    logger.info(
        "Started a ray_on_dask session at %s%s", context.address_info.get("address"),
        f", dashboard at {url}" if url else "",
    )  # fmt: skip


def _on_exit() -> None:
    global _at_exit
    if not _at_exit:
        _at_exit = True
        atexit.register(shutdown)


def shutdown(*, wait_for_processes: bool = True, _exiting_interpreter: bool = False) -> None:
    """End the session: what this driver has started ends, and a local cluster with it.

    Does nothing when there is no session. Refs and handles of it are of no use afterwards.
    """
    global _head, _context
    with _lock:
        process, current.process = current.process, None
        current.gone = ""
        sessions.set_local(None)
        head, _head = _head, None
        _context = None
        if process is not None and process.kind == "driver":
            from ray_on_dask.runtime import ctrl_c

            process.close_reason = ""
            process.close()
            ctrl_c.unguard()
            if process.interop is not None:
                process.interop.close()
        if head is not None:
            head.stop()


def is_initialized() -> bool:
    """Whether there is a session in this process."""
    return sessions.started()
