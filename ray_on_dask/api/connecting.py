"""What makes this process a driver of a session, once there is a node for it to hang on."""

from __future__ import annotations

import os
import sys
import uuid

from ray_on_dask.api import packages
from ray_on_dask.api.environments import spelled
from ray_on_dask.api.init_options import InitOptions
from ray_on_dask.api.modes import SILENT_MODE
from ray_on_dask.config import nbytes, setting
from ray_on_dask.runtime import call_sites, ctrl_c, current, joining
from ray_on_dask.runtime.background import Terminal
from ray_on_dask.runtime.driver import Driver
from ray_on_dask.wire.messages import JobConfig

#: Bytes that an owner keeps of tasks, unless the configuration says otherwise.
LINEAGE = 256_000_000
#: Seconds for a node to take a driver in.
START_TIMEOUT = 60.0


def connect(hub: str, options: InitOptions) -> Driver:
    """A driver that the node at `hub` has taken in; `ConnectionError` if it does not."""
    shows_errors = options.driver_mode != SILENT_MODE and not imported_as_ray()
    terminal = Terminal(options.log_to_driver, shows_errors)
    driver = Driver(hub, job_config(options), terminal)
    if imported_as_ray():
        driver.references.log_unhandled()
    driver.join(START_TIMEOUT)
    packages.send(driver)
    return driver


def enter(driver: Driver, options: InitOptions) -> None:
    """From now on calls of this process are that driver's."""
    driver.interop = joining.make_interop(driver, options)
    if driver.config.record_graph:
        from ray_on_dask.graph.recorder import record

        driver.recorder = record(driver)
    if driver.config.record_sites:
        call_sites.note(driver)
    current.set_process(driver)
    ctrl_c.guard(driver.reactor)


def imported_as_ray() -> bool:
    """Whether the program imports this package as ``ray``."""
    drop_in = sys.modules.get("ray_on_dask.drop_in")
    return drop_in is not None and drop_in.installed()


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
