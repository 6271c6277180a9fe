"""What executors print: read from their pipes, named, and sent on in batches."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from ray_on_dask.runtime.output import MARK

#: Bytes read at a time, and lines that are held of one executor before they are sent.
CHUNK, LINES_MAX = 1 << 16, 500
#: Seconds that lines wait for others to go with them.
GATHER = 0.05


class LogReader:
    """Reads one pipe.

    Parameters
    ----------
    fd : int
        Its read end, closed when the writer has closed the other.
    send : callable
        ``send(name, lines)``: name of the task or actor, and what it has printed.
    path : str
        A file that gets the lines too; "" for none.
    """

    def __init__(self, fd: int, send: Callable[[str, list[str]], None], path: str = ""):
        self._fd = fd
        self._send = send
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._rest = ""
        self._name = ""
        self._lines: list[str] = []
        self._due: asyncio.TimerHandle | None = None
        self._path = path
        os.set_blocking(fd, False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(fd, self._read)

    def log_to(self, path: str) -> None:
        """Write what comes to a file too."""
        self._path = path

    def _read(self) -> None:
        try:
            data = os.read(self._fd, CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        text = self._rest + self._decoder.decode(data)
        *lines, self._rest = text.split("\n")
        for line in lines:
            self._take(line)

    def _take(self, line: str) -> None:
        if line.startswith(MARK):
            self.flush()
            self._name = line[1:]
            return
        self._lines.append(line)
        if len(self._lines) >= LINES_MAX:
            self.flush()
        elif self._due is None:
            self._due = self._loop.call_later(GATHER, self.flush)

    def flush(self) -> None:
        """Send what has been gathered."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        lines, self._lines = self._lines, []
        if lines:
            self._send(self._name, lines)
            if self._path:
                self._loop.run_in_executor(_file_thread(), _append, self._path, lines)

    def close(self) -> None:
        """The end of the pipe: send the rest."""
        if self._fd < 0:
            return
        self._loop.remove_reader(self._fd)
        with contextlib.suppress(OSError):
            os.close(self._fd)
        self._fd = -1
        if self._rest:
            self._take(self._rest)
            self._rest = ""
        self.flush()


@functools.cache
def _file_thread() -> ThreadPoolExecutor:
    """The one thread that writes to files: of several, one might overtake another."""
    return ThreadPoolExecutor(1, thread_name_prefix="ray_on_dask-logs")


def _append(path: str, lines: list[str]) -> None:
    with open(path, "a", encoding="utf-8", errors="backslashreplace") as file:
        file.write("\n".join(lines) + "\n")
