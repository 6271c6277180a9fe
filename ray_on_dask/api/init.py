"""`init` and `shutdown`: the session's begin and end."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import uuid
from typing import Any

from ray_on_dask.api import packages, session as sessions
from ray_on_dask.api.context import RayContext, address_info
from ray_on_dask.api.environments import spelled
from ray_on_dask.api.init_options import InitOptions
from ray_on_dask.config import nbytes, setting
from ray_on_dask.runtime import call_sites, ctrl_c, current
from ray_on_dask.runtime.background import Terminal
from ray_on_dask.runtime.driver import Driver
from ray_on_dask.wire.messages import JobConfig

#: Bytes that an owner keeps of tasks, unless the configuration says otherwise.
LINEAGE = 256_000_000

logger = logging.getLogger("ray_on_dask")

#: Seconds for a session to come up.
START_TIMEOUT = 60.0
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

    if options.starts_cluster:
        _head = joining.start_head(options)
        hub = _head.facts["hub"]
    else:
        hub, options.client, _head = joining.find_hub(options)
    driver = None
    try:
        shows_errors = options.driver_mode != sessions_silent() and not imported_as_ray()
        terminal = Terminal(options.log_to_driver, shows_errors)
        driver = Driver(hub, job_config(options), terminal)
        if imported_as_ray():
            driver.references.log_unhandled()
        driver.join(START_TIMEOUT)
        packages.send(driver)
    except BaseException:
        if _head is not None:
            _head.stop()
            _head = None
        raise
    driver.interop = joining.make_interop(driver, options)
    if driver.config.record_graph:
        from ray_on_dask.graph.recorder import record

        driver.recorder = record(driver)
    if driver.config.record_sites:
        call_sites.note(driver)
    current.set_process(driver)
    ctrl_c.guard(driver.reactor)
    context = RayContext(address_info(driver))
    if options.configure_logging:
        _announce(context)
    return context


def imported_as_ray() -> bool:
    """Whether the program imports this package as ``ray``."""
    drop_in = sys.modules.get("ray_on_dask.drop_in")
    return drop_in is not None and drop_in.installed()


def sessions_silent() -> int:
    """The value of SILENT_MODE."""
    from ray_on_dask.api.modes import SILENT_MODE

    return SILENT_MODE


def job_config(options: InitOptions) -> JobConfig:
    """What executors take over from this driver."""
    import json

    paths = [os.path.abspath(path) if path else os.getcwd() for path in sys.path]
    environment = options.runtime_env
    packages.forget()
    return JobConfig(
        sys_path=list(dict.fromkeys(paths)), cwd=os.getcwd(),
        namespace=options.namespace or str(uuid.uuid4()), log_to_driver=options.log_to_driver,
        redirect_output=options.redirect_output, id_seed=options.object_id_seed,
        runtime_env=spelled(environment or {}),
        wait_milliseconds=options.wait_timeout_unit == "ms", entrypoint=" ".join(sys.argv),
        logging=json.dumps(vars(options.logging_config)) if options.logging_config else "",
        lineage_bytes=_lineage_bytes(options),
        submission=os.environ.get("RAY_ON_DASK_SUBMISSION_ID", ""), alias=imported_as_ray(),
        record_graph=options.record_graph or options.start_ray_local is True,
        record_sites=call_sites.wanted(),
    )  # fmt: skip


def _lineage_bytes(options: InitOptions) -> int:
    """Bytes that each owner may keep of tasks, 0 if lost objects are not to be made again."""
    if not options.enable_object_reconstruction:
        return 0
    return nbytes(setting("lineage-memory", LINEAGE)) or 0


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
