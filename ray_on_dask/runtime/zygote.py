"""The zygote: a small process that has the imports done and forks executors.

It is a child of the node, has one thread, and never loads a user's module. It
parents all executors and adopts what they leave behind, so two things are its
own to see to:

- an executor that ends takes with it every process that it had started;
- a node that ends, in whatever way, takes everything with it: the zygote sees
  the end of its socket (which no `kill -9` can prevent), ends all children and
  removes the node's directories. If the zygote is killed itself, the kernel ends
  the executors (parent-death signal), and the node's client does the rest.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Iterable

from ray_on_dask.runtime import process_tree
from ray_on_dask.runtime.directories import remove_directory
from ray_on_dask.runtime.forked_child import become_child, reseed
from ray_on_dask.runtime.packing import fill_holes
from ray_on_dask.runtime.zygote_messages import (
    LONGEST_REQUEST,
    NEVER_STARTED,
    Alive,
    Exited,
    Fork,
    Forked,
    Kill,
    Ready,
    Spawn,
    decode_request,
    encode,
)

#: Imported by every zygote; what executors use but the task's own modules.
ALWAYS = ("numpy", "numpy.random", "cloudpickle", "msgspec")

_BLAS_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
#: Seconds after which a wait that ended too late shows that this process was stopped meanwhile.
OVERSLEPT = 2.0
_HANDLED = (signal.SIGCHLD, signal.SIGTERM)


class Zygote:
    """Serves a node over a socket until either ends.

    Parameters
    ----------
    node : socket.socket
        A blocking `SOCK_SEQPACKET` Unix socket; its end of file is the node's end.
    """

    def __init__(self, node: socket.socket) -> None:
        self._node = node
        self._pid, self._parent = os.getpid(), os.getppid()
        #: How long the node may say nothing, 0 for ever, and until when.
        self._patience = self._deadline = 0.0
        #: {process id: name} of the children that the node asked for.
        self._names: dict[int, str] = {}
        self._wake, self._woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._woken, warn_on_full_buffer=False)
        for number in _HANDLED:
            signal.signal(number, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def serve(self) -> bool:
        """Do what the node asks, until it is gone or we are told to stop; say if it is gone."""
        poll = select.poll()
        poll.register(self._node, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        try:
            self._node.sendall(encode(Ready(self._pid)))
            while self._handle({fd for fd, _ in poll.poll(self._left())}):
                self._look_after_node()
        except ConnectionError:
            return True
        return _is_gone(self._node)

    def end_all(self, patience: float = 5.0) -> None:
        """End all children and what they started; return when they are reaped."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            process_tree.end(process_tree.children(self._pid))
            try:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    time.sleep(0.002)
            except ChildProcessError:
                return

    def _left(self) -> float | None:
        """Milliseconds until the node must have said something."""
        if not self._patience:
            return None
        return max(1.0, (self._deadline - time.monotonic()) * 1000)

    def _look_after_node(self) -> None:
        """End a node that is stopped or hangs: its socket would keep its executors for ever."""
        late = time.monotonic() - self._deadline if self._patience else 0.0
        if late > OVERSLEPT:  # we were stopped too, and know nothing of it
            self._deadline = time.monotonic() + self._patience
        elif late > 0:
            print(f"the node has said nothing for {self._patience:g} s: it is ended", flush=True)
            self._patience = 0.0
            if os.getppid() == self._parent:
                os.kill(self._parent, signal.SIGKILL)

    def _handle(self, ready: set[int]) -> bool:
        if self._wake in ready:
            if signal.SIGTERM in os.read(self._wake, 4096):
                return False
            self._reap()
        if self._node.fileno() not in ready:
            return True
        packet = self._node.recv(LONGEST_REQUEST)
        if packet:
            self._obey(decode_request(packet))
        return bool(packet)

    def _obey(self, request: Fork | Spawn | Kill | Alive) -> None:
        if isinstance(request, Alive):
            self._patience = request.patience
            self._deadline = time.monotonic() + request.patience
            return
        if isinstance(request, Kill):
            if request.pid in self._names:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(request.pid, request.signal)
            return
        try:
            self._start(request)
        except OSError as error:
            print(f"cannot start {request.name}: {error}", file=sys.stderr, flush=True)
            self._node.sendall(encode(Exited(request.name, 0, NEVER_STARTED)))

    def _start(self, request: Fork | Spawn) -> None:
        readers, writers = _output(request)
        try:
            # Signals wait until the child has put away our handlers for them.
            signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
            pid = os.fork()
            if not pid:
                self._node.detach()
                become_child(request, self._pid, writers, _HANDLED)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
            self._names[pid] = request.name
            socket.send_fds(self._node, [encode(Forked(request.name, pid))], readers)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
            for fd in {*readers, *writers}:
                os.close(fd)

    def _reap(self) -> None:
        reaped = False
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                reaped = True
                self._report(ended[0], os.waitstatus_to_exitcode(ended[1]))
        if reaped:
            self._end_orphans()

    def _report(self, pid: int, status: int) -> None:
        name = self._names.pop(pid, None)
        if name is not None:
            self._node.sendall(encode(Exited(name, pid, status)))

    def _end_orphans(self) -> None:
        """End what dead executors have left, and leave what living ones have set free.

        A process that outlives its parent comes to us while its executor may well
        live (`os.system("server &")`). It is told by the session, which each
        executor has for its own, or by the executor's name in its environment.
        Each that ends may leave others; these come here at its own death.
        """
        living = set(self._names.values())
        process_tree.end(
            [
                pid
                for pid in process_tree.children(self._pid)
                if pid not in self._names
                and process_tree.session_of(pid) not in self._names
                and process_tree.variable_of(pid, process_tree.EXECUTOR_VARIABLE) not in living
            ]
        )


def _is_gone(node: socket.socket, patience: int = 1000) -> bool:
    """Whether the other end is closed, or will be within `patience` milliseconds.

    A node that ends loses the thread that made us, whose end we are told by SIGTERM,
    a little earlier than its sockets.
    """
    poll = select.poll()
    poll.register(node, select.POLLRDHUP)
    return bool(poll.poll(patience))


def _output(request: Fork | Spawn) -> tuple[list[int], list[int]]:
    """Descriptors for the node to read from, and for the child to write (stdout, stderr) to."""
    if isinstance(request, Spawn) and request.output:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        file = os.open(request.output, flags, 0o600)
        return [], [file, file]
    out, err = os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC)
    return [out[0], err[0]], [out[1], err[1]]


def load(modules: Iterable[str]) -> None:
    """Import what executors need, with no BLAS threads, and put it where it stays shared.

    OpenBLAS starts its threads when it is loaded, and a fork of a process with
    threads may deadlock; executors size their pools by call. The variables are then
    as they were, for programs that users start.
    """
    before = {name: os.environ.get(name) for name in _BLAS_VARIABLES}
    os.environ.update(dict.fromkeys(_BLAS_VARIABLES, "1"))
    for module in modules:
        rehearse = getattr(importlib.import_module(module), "rehearse", None)
        if rehearse is not None:
            try:
                rehearse()
            except Exception:  # children work without it, only larger
                traceback.print_exc()
    for name, value in before.items():
        os.environ.pop(name)
        if value is not None:
            os.environ[name] = value
    if (threads := len(os.listdir("/proc/self/task"))) > 1:
        print(f"zygote: imports have started {threads - 1} threads", file=sys.stderr, flush=True)
    reseed()  # what it loads when first called stays shared
    gc.collect()
    fill_holes()
    gc.freeze()
    gc.disable()  # children turn it on again


def main(arguments: list[str]) -> int:
    """Serve the node at the other end of stdin; return the exit code."""
    parser = argparse.ArgumentParser(prog="zygote", description=main.__doc__)
    parser.add_argument("--remove", action="append", default=[], metavar="DIR")
    parser.add_argument("--preload", action="append", default=[], metavar="MODULE")
    options = parser.parse_args(arguments)
    process_tree.adopt_orphans()
    zygote = Zygote(socket.socket(fileno=0))
    # Should a copy of the node's end of the socket live on in a fork of the node.
    process_tree.die_with_parent(signal.SIGTERM)
    node_is_gone = True
    try:
        load([*ALWAYS, *options.preload])
        node_is_gone = zygote.serve()
    except Exception:
        traceback.print_exc()
        node_is_gone = False
    zygote.end_all()
    for directory in options.remove if node_is_gone else ():
        remove_directory(directory)
    return 0 if node_is_gone else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
