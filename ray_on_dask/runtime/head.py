"""The head of a local session: a Dask scheduler and one worker, a node, in one event loop.

A driver starts it as a process in a session of its own, gives it its options as JSON on the
command line, and reads one line of JSON from its stdout when it is ready. It ends when the driver
closes its stdin, which the kernel does when the driver dies.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import signal
import sys
import warnings
from typing import Any


async def run(options: dict[str, Any]) -> None:
    """Be the head until stdin is closed."""
    end = asyncio.Event()
    loop = asyncio.get_running_loop()
    if options["detached"]:
        os.environ["RAY_ON_DASK_DETACHED"] = "1"
    else:
        loop.add_reader(0, end.set)
    loop.add_signal_handler(signal.SIGTERM, end.set)
    from ray_on_dask.runtime.beginning import Beginning

    given = options["node"]
    beginning = Beginning.make(given["temp_dir"], given["plasma_directory"], early=True)
    _read_yaml_fast()
    import dask
    from distributed import Scheduler, Worker

    from ray_on_dask.plugins import dashboard
    from ray_on_dask.plugins._dask_compat import give_to_future_workers
    from ray_on_dask.plugins.scheduler_plugin import ControlPlugin
    from ray_on_dask.plugins.worker_plugin import NodePlugin
    from ray_on_dask.runtime import output

    _be_calm(dask.config)
    logging.getLogger("distributed").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message="Port .* is already in use")
    host, shown = options["host"], options["dashboard"]
    control = ControlPlugin(options["session"], redis=options["redis"])
    node = NodePlugin(**given)
    node.control, node.beginning = control, beginning
    async with Scheduler(
        host=host, port=options["port"], dashboard=False, idle_timeout=None,
        dashboard_address=dashboard.address(shown["host"], shown["port"])
        if shown["include"] else "127.0.0.1:0",
    ) as scheduler:  # fmt: skip
        _guard(host, scheduler)
        if shown["include"]:
            control.session["dashboard_url"] = dashboard.install(scheduler, control.show_past)
        await scheduler.register_scheduler_plugin(control, idempotent=True)
        worker = Worker(
            scheduler.address, nthreads=options["nthreads"], host=host, memory_limit=0,
            dashboard=False, name="head", resources=options["resources"], death_timeout=None,
        )  # fmt: skip
        async with worker:
            _guard(host, worker)
            await worker.plugin_add(node, name=node.name)
            control.node_up(worker.address, node.node.facts())
            # Dask may have named the process after its worker alone.
            output.title(f"ray_on_dask.runtime.head {scheduler.address}")
            _say(
                hub=node.node.hub_path, address=scheduler.address,
                session_dir=node.node.directories.session_dir,
                shm=node.node.directories.shm_dir, pid=os.getpid(),
            )  # fmt: skip
            give_to_future_workers(scheduler, NodePlugin())
            _come_to_rest(node.node.directories.session_dir if options["detached"] else "")
            control.log.start(scheduler.address, node.node.directories.session_dir)
            await end.wait()
            control.log.close()
            await node.teardown(worker)
            os._exit(0)


#: Dask's settings that this process changes: from what it would be to what it is.
CALM = {
    "distributed.admin.low-level-log-length": (1000, 0),
    # It wakes 160 times a second for these two, and takes the processor from a task each time.
    "distributed.admin.tick.interval": ("20ms", "200ms"),
    "distributed.worker.profile.interval": ("10ms", "50ms"),
}


def _read_yaml_fast() -> None:
    """Have Dask's configuration read by the C parser, which takes 3 ms in place of 50."""
    import yaml

    with contextlib.suppress(AttributeError):  # built without it
        yaml.SafeLoader = yaml.CSafeLoader


def _be_calm(config: Any) -> None:
    """Have Dask look at itself less often; what the user has set himself stays."""
    config.set({
        key: ours for key, (theirs, ours) in CALM.items() if config.get(key, theirs) == theirs
    })  # fmt: skip


def _come_to_rest(logs: str) -> None:
    """All is up: collect garbage again; what is said goes to a file in `logs`, if given."""
    gc.freeze()  # what has been imported stays: it need not be looked through
    gc.enable()
    if logs:
        _log_to(os.path.join(logs, "head.log"))


def _log_to(path: str) -> None:
    """Send what is said on stdout and stderr from now on there: nobody else listens."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    os.close(fd)


def _guard(host: str, server: Any) -> None:
    """Let nobody but this user connect to a server on loopback."""
    from ray_on_dask.plugins._dask_compat_tasks import guard_listeners
    from ray_on_dask.runtime import loopback

    if host.startswith("127.") and loopback.can_tell():
        guard_listeners(server, loopback.peer_is_ours)


def _say(**facts: Any) -> None:
    os.write(1, (json.dumps(facts) + "\n").encode())


def main() -> int:
    """Run a head with the options in ``sys.argv[1]``."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.disable()  # `run` turns it on again: until then hardly anything but imports is made
    asyncio.run(run(json.loads(sys.argv[1])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
