"""The actor that runs a job's command, as long as the command does."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

#: Seconds between being asked to end and being killed.
GRACE = 3.0
#: Seconds between two parcels of output, and bytes read at a time.
EVERY, CHUNK = 0.2, 1 << 16


class Supervisor:
    """Runs one shell command; needs at least three concurrent calls.

    Parameters
    ----------
    manager : ActorHandle
        Is told what the command prints.
    """

    def __init__(self, id: str, manager: Any):
        self.id = id
        self.manager = manager
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = threading.Event()

    def where(self) -> str:
        """The node that it is on."""
        import ray_on_dask

        return ray_on_dask.get_runtime_context().get_node_id()

    def run(self, entrypoint: str, env: dict[str, str], packed: bytes, directory: str) -> int:
        """Run the command to its end: its exit code, minus a signal's number if that ended it."""
        unpacked = ""
        try:
            if packed:
                from ray_on_dask.job_submission.packing import unpack

                unpacked = directory = tempfile.mkdtemp(prefix=f"{self.id}-")
                unpack(packed, directory)
            if self._stopped.is_set():
                return -signal.SIGTERM
            self._process = subprocess.Popen(
                entrypoint, shell=True, executable="/bin/bash" if _has_bash() else None,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                start_new_session=True, cwd=directory or None, env=self._environment(env),
            )  # fmt: skip
            if self._stopped.is_set():
                self._end()
            self._hand_on(self._process)
            return self._process.wait()
        finally:
            if unpacked:
                shutil.rmtree(unpacked, ignore_errors=True)

    def _environment(self, env: dict[str, str]) -> dict[str, str]:
        """The cluster's address is where `init()` looks, and this interpreter is `python`."""
        import ray_on_dask
        from ray_on_dask.runtime import current

        address = current.require().asking.ask("session")["scheduler_address"]
        root = os.path.dirname(os.path.dirname(os.path.abspath(ray_on_dask.__file__)))
        paths = [os.environ.get("PYTHONPATH", ""), root]
        return {
            **os.environ,
            "PATH": os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")]),
            "PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONUNBUFFERED": "1",
            "RAY_ADDRESS": address, "RAY_ON_DASK_ADDRESS": address,
            "RAY_ON_DASK_SUBMISSION_ID": self.id, **env,
        }  # fmt: skip

    def _hand_on(self, process: subprocess.Popen[bytes]) -> None:
        """Tell the manager what is printed, in parcels, until the command has ended."""
        assert process.stdout is not None
        out = process.stdout.fileno()
        last = None
        while True:
            try:
                data = os.read(out, CHUNK)
            except OSError:
                data = b""
            if not data:
                break
            if last is not None:
                with contextlib.suppress(Exception):  # its end is noticed by others
                    _get(last)  # so that no more than one parcel is on its way
            last = self.manager.append.remote(self.id, data)
            if len(data) < CHUNK:
                time.sleep(EVERY)
        process.stdout.close()
        if last is not None:
            with contextlib.suppress(Exception):
                _get(last)

    def stop(self) -> None:
        """Have the command end, by force after some seconds."""
        self._stopped.set()
        self._end()

    def _end(self) -> None:
        process = self._process
        if process is None:
            return
        for sign, seconds in ((signal.SIGTERM, GRACE), (signal.SIGKILL, GRACE)):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
                return


def _get(ref: Any) -> Any:
    import ray_on_dask

    return ray_on_dask.get(ref)


def _has_bash() -> bool:
    return os.path.exists("/bin/bash")
