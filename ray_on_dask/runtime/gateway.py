"""The process of a gateway: started by a driver that has no node on its host, ended with it.

It reads its options as one line of JSON from stdin, says in one line of JSON where its hub is, and
ends when stdin closes, which the kernel sees to when the driver dies.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import os
import pickle
import signal
import sys
from typing import Any


async def run(options: dict[str, Any]) -> None:
    """Be the gateway until stdin is closed, or the cluster is gone."""
    from ray_on_dask.plugins.gateway import Gateway
    from ray_on_dask.runtime import output

    logging.getLogger("distributed").setLevel(logging.WARNING)
    loop = asyncio.get_running_loop()
    security = pickle.loads(base64.b64decode(options["security"]))
    gateway = Gateway(options["scheduler"], security, options["node"])
    end = gateway.lost
    loop.add_reader(0, end.set)
    loop.add_signal_handler(signal.SIGTERM, end.set)
    ticking = None
    try:
        await gateway.start()
        ticking = asyncio.ensure_future(gateway.tick())
        output.title(f"ray_on_dask.runtime.gateway {options['scheduler']}")
        facts = {
            "hub": gateway.node.hub_path, "address": options["scheduler"], "pid": os.getpid(),
            "session_dir": gateway.node.directories.session_dir,
            "shm": gateway.node.directories.shm_dir,
        }  # fmt: skip
        os.write(1, (json.dumps(facts) + "\n").encode())
        await end.wait()
    finally:
        if ticking is not None:
            ticking.cancel()
        with contextlib.suppress(Exception):
            await gateway.close()


def main() -> int:
    """Run a gateway with the options on stdin."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    line = b""
    while not line.endswith(b"\n"):
        data = os.read(0, 1 << 16)
        if not data:
            return 1
        line += data
    asyncio.run(run(json.loads(line)))
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
