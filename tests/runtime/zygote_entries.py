"""What the children of a zygote do in `test_zygote.py`."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from typing import Any

import numpy

SLEEP = [sys.executable, "-c", "import time; time.sleep(100)"]


def numbers(_: dict[str, Any]) -> None:
    """Print what the two global generators draw."""
    print(random.random(), numpy.random.random())


def both_outputs(params: dict[str, Any]) -> int:
    """Print to stdout and stderr, then end with a status."""
    print(params["text"])
    print("and this went wrong", file=sys.stderr)
    return int(params["status"])


def situation(_: dict[str, Any]) -> None:
    """Print session, group, own id, open descriptors, `__main__`, signal handlers, threads."""
    fds = sorted(int(fd) for fd in os.listdir("/proc/self/fd"))[:-1]  # the last lists them
    default = signal.getsignal(signal.SIGTERM) == signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL
    keyboard = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    main = [name for name in vars(sys.modules["__main__"]) if not name.startswith("__")]
    leader = os.getsid(0) == os.getpgid(0) == os.getpid()
    print([leader, fds, default, keyboard, sorted(blocked), main, "dask" in sys.modules])


def fails(_: dict[str, Any]) -> None:
    """Raise."""
    raise ValueError("no luck")


def waits(_: dict[str, Any]) -> None:
    """Print a line and wait."""
    print("waiting")
    time.sleep(100)


def starts_processes(_: dict[str, Any]) -> None:
    """Start one in our session, one in its own, and one whose parent is gone; print their ids."""
    plain = subprocess.Popen(SLEEP)
    apart = subprocess.Popen(SLEEP, start_new_session=True)
    line = f"{sys.executable} -c 'import time; time.sleep(100)' >&2 & echo $!"
    orphan = subprocess.run(["sh", "-c", line], stdout=subprocess.PIPE, check=False, text=True)
    print(plain.pid, apart.pid, orphan.stdout.split()[0])
    time.sleep(100)
