"""The first millisecond of a child of the zygote: how it stops being one.

A child has a session of its own (Ctrl-C in the driver's terminal does not reach
it), dies with the zygote, holds no descriptor of the zygote's, draws random
numbers of its own, and prints into pipes whose other ends the node has.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import contextlib
import gc
import importlib
import os
import signal
import sys
import traceback
import types
from collections.abc import Iterable
from typing import Any, NoReturn

from ray_on_dask.runtime import process_tree
from ray_on_dask.runtime.zygote_messages import NEVER_STARTED, Fork, Spawn

#: Words in the state of a Mersenne twister.
_STATE = 624


def become_child(
    request: Fork | Spawn, zygote: int, output: list[int], signals: Iterable[signal.Signals]
) -> NoReturn:
    """Do, right after the fork, what was asked for; never return.

    Parameters
    ----------
    zygote : int
        Process id of the parent.
    output : list of int
        Descriptors that are to be stdout and stderr.
    signals : iterable of signal.Signals
        Those that the zygote handles, and has blocked for the fork.
    """
    status = 1
    try:
        process_tree.die_with_parent(signal.SIGKILL, zygote)
        os.setsid()
        _redirect(output)
        _restore_signals(signals)
        os.environ[process_tree.EXECUTOR_VARIABLE] = request.name
        if isinstance(request, Spawn):
            _execute(request)
        status = _run(request)
    except BaseException:
        _report_exception()
    finally:
        _flush()
        os._exit(status)


def _redirect(output: list[int]) -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    for place, fd in enumerate([nothing, *output]):
        os.dup2(fd, place)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))


def _restore_signals(signals: Iterable[signal.Signals]) -> None:
    # Not by `signal`, which makes enums of all numbers: 50 pages of memory that were shared.
    _signal.set_wakeup_fd(-1)
    for number in signals:
        _signal.signal(number, _signal.SIG_DFL)
    _signal.signal(_signal.SIGINT, _signal.default_int_handler)
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, signals)


def _execute(request: Spawn) -> NoReturn:
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python has it ignored, programs expect it
    try:
        if request.cwd:
            os.chdir(request.cwd)
        os.execvpe(request.command[0], request.command, {**os.environ, **request.env})
    except OSError as error:
        print(f"cannot start {request.command[0]}: {error}", file=sys.stderr, flush=True)
        os._exit(NEVER_STARTED)


def _run(request: Fork) -> int:
    process_tree.volunteer_for_oom_kill()
    reseed()
    sys.modules["__main__"] = types.ModuleType("__main__")
    sys.argv = [""]
    _open_streams()
    gc.enable()
    module, _, function = str(request.params["entry"]).partition(":")
    entry = getattr(importlib.import_module(module), function)
    try:
        return _status(entry(request.params))
    except SystemExit as end:
        return _status(end.code)


def reseed() -> None:
    """Have NumPy's global generator draw numbers of its own, as CPython does with `random`.

    By a whole random state: to make one of a few numbers takes NumPy twice the memory.
    """
    numpy = sys.modules["numpy"]
    key = numpy.frombuffer(os.urandom(4 * _STATE), numpy.uint32)
    numpy.random.set_state(("MT19937", key, _STATE, 0, 0.0))


def _open_streams() -> None:
    """Text streams anew: those of the zygote remember what they were opened on (`seekable`)."""
    sys.stdin = sys.__stdin__ = _stream(0, "r")  # type: ignore[misc]
    sys.stdout = sys.__stdout__ = _stream(1, "w")  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _stream(2, "w")  # type: ignore[misc]


def _stream(fd: int, mode: str) -> Any:
    return os.fdopen(fd, mode, 1, encoding="utf-8", errors="backslashreplace", closefd=False)


def _status(result: Any) -> int:
    """Exit status of what an entry gives back, by the rules of `sys.exit`."""
    if result is None:
        return 0
    if isinstance(result, int):
        return result & 0xFF
    print(result, file=sys.stderr)
    return 1


def _report_exception() -> None:
    with contextlib.suppress(BaseException):
        traceback.print_exc()


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BaseException):
            stream.flush()
