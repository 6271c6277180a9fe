"""What appears on the driver's terminal without its doing: output and errors of tasks."""

from __future__ import annotations

import sys
import time

from ray_on_dask.runtime.log_lines import LogPrinter
from ray_on_dask.runtime.progress import MARK, bars
from ray_on_dask.wire.messages import ErrorRecord, LogLines


class Terminal:
    """Prints in the background.

    Parameters
    ----------
    output, errors : bool
        Whether output of tasks, and their errors, are shown.
    host : str
        This machine's address: lines from others name theirs.
    """

    def __init__(self, output: bool = True, errors: bool = True, host: str = ""):
        self.output = output
        self.errors = errors
        self.host = host
        self._printer = LogPrinter.from_environment(self._write, time.monotonic)

    @property
    def pending(self) -> bool:
        """Whether merged lines wait to be shown."""
        return self._printer.pending

    @staticmethod
    def _write(text: str, is_error: bool = False) -> None:
        stream = sys.stderr if is_error else sys.stdout
        with bars.hidden():
            stream.write(text)
            stream.flush()

    def lines(self, message: LogLines) -> None:
        """Show what a task has printed."""
        if self.output:
            ip = message.node if self.host and message.node != self.host else None
            for text in message.lines:
                if text.startswith(MARK) and bars.take_line(text):
                    continue
                self._printer.line(message.name, message.pid, ip, text, message.is_error)

    def error(self, message: ErrorRecord) -> None:
        """Show that a task has failed."""
        if self.errors:
            sys.stderr.write(
                f"\n{message.message}\n  All errors of this session: ray_on_dask.error_info()\n"
            )
            sys.stderr.flush()

    def tick(self, now: float) -> None:
        """Show merged lines that are due."""
        self._printer.tick(now)

    def close(self) -> None:
        """Show what is left."""
        self._printer.tick(float("inf"))
        bars.close()
