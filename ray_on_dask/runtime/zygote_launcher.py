"""Starting and reaping zygotes: what takes too long for a loop, in a thread that lasts.

The zygote has itself told (SIGTERM) when the *thread* that made it ends, so one
thread makes all and ends only with the process: a daemon, since others are ended
while the interpreter still has exit handlers to run. The end of the zygote's socket
says the same, unless a fork of the node has kept a copy of the node's end.
"""

from __future__ import annotations

import functools
import json
import os
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from ray_on_dask.runtime import process_tree
from ray_on_dask.runtime.zygote_messages import LONGEST_REQUEST

T = TypeVar("T")

Zygote = subprocess.Popen[bytes]

# Not `-m`: that would put the working directory in front of the module path, and
# find this package only where the environment, not `sys.path`, leads to it.
_START = (
    "import sys, json; sys.path[:] = json.loads(sys.argv.pop(1)); "
    "from ray_on_dask.runtime.zygote import main; sys.exit(main(sys.argv[1:]))"
)


@dataclass(frozen=True)
class ZygoteStarted:
    """A zygote on its way: the node's end of its line, which takes requests, and its process."""

    socket: socket.socket
    process: Future[Zygote]


@dataclass(frozen=True)
class ZygoteStart:
    """How a zygote is started.

    Parameters
    ----------
    session_dir, shm_dir : str
        Removed by the zygote when the node is gone.
    preload : sequence of str
        Modules that children find imported. They must start no thread.
    inherit : sequence of int
        Descriptors that the zygote holds as long as it lives (locks on the directories).
    """

    session_dir: str
    shm_dir: str
    preload: Sequence[str] = ()
    inherit: Sequence[int] = ()

    def launched(self) -> ZygoteStarted:
        """Start a first zygote, in any thread, with no loop needed."""
        ours, theirs = line()
        return ZygoteStarted(ours, self.launch(theirs, None))

    def launch(self, theirs: socket.socket, previous: Future[Zygote] | None) -> Future[Zygote]:
        """Start a zygote at the end of a line, once nothing of its predecessor is left."""
        options = ["--remove", self.session_dir, "--remove", self.shm_dir]
        for module in self.preload:
            options += ["--preload", module]
        inherit = tuple(self.inherit)
        return in_lasting_thread(launch, options, self.session_dir, inherit, theirs, previous)


def line() -> tuple[socket.socket, socket.socket]:
    """The two ends of a line between node and zygote; requests wait in it for the zygote."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * LONGEST_REQUEST)
    return ours, theirs


def in_lasting_thread(function: Callable[..., T], *args: Any) -> Future[T]:
    """Call `function` after those given before it, in the thread that makes the zygotes."""
    future: Future[T] = Future()
    _calls().put((future, functools.partial(function, *args)))
    return future


def launch(
    options: list[str],
    session_dir: str,
    inherit: tuple[int, ...],
    theirs: socket.socket,
    previous: Future[Zygote] | None,
) -> Zygote:
    """Start a zygote with `theirs` as its stdin, once nothing of its predecessor is left."""
    try:
        if previous is not None:
            reap(previous, session_dir)
        return subprocess.Popen(
            [sys.executable, "-c", _START, json.dumps(sys.path), *options],
            stdin=theirs.fileno(),
            stdout=subprocess.DEVNULL,
            pass_fds=inherit,
            start_new_session=True,
            env={**os.environ, process_tree.SESSION_VARIABLE: session_dir},
        )
    finally:
        theirs.close()  # ours then ends when the zygote does


def reap(started: Future[Zygote], session_dir: str) -> None:
    """See a zygote that ends, or should have, to its end, and all that it had started."""
    if started.exception() is None:
        process = started.result()
        process.kill()
        process.wait()
    process_tree.end_session(session_dir)


@functools.cache
def _calls() -> queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]]:
    calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
    threading.Thread(target=_serve, args=(calls,), name="ray_on_dask-zygote", daemon=True).start()
    return calls


def _serve(calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]]) -> None:
    while True:
        future, call = calls.get()
        try:
            future.set_result(call())
        except Exception as error:
            future.set_exception(error)
