"""What an executor's code prints, and the title that the process shows meanwhile.

The node reads the process's stdout and stderr from pipes. So that it can tell the driver which task
wrote a line, a marker line goes before the first text that a task writes, and only then.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Any, TextIO

#: Begins a line that names the task whose output follows.
MARK = "\x1e"

try:
    from setproctitle import getproctitle as _get_title, setproctitle as _set_title
except ImportError:  # no C extension for this platform

    def _set_title(title: str) -> None:
        pass

    def _get_title() -> str:
        return ""


_name = ""
_title = ""
_fixed = ""


def begin(name: str) -> None:
    """A task goes into its code."""
    global _name
    _name = name
    title("ray::" + name)


def rename(name: str) -> None:
    """What this process prints is under this name from now on (an actor with a repr of its own)."""
    global _fixed
    _fixed = name


def end() -> None:
    """It has come out: what it printed goes now."""
    for stream in (_out, _err):
        if stream is not None and stream.unflushed:
            stream.flush()


def title_now() -> str:
    """What the process shows as its title."""
    return _get_title()


def title(text: str) -> None:
    """Show this as the process's title."""
    global _title
    if text != _title:
        _title = text
        _set_title(text)


class _Marked:
    """A text stream that writes a marker line whenever the task has changed."""

    def __init__(self, stream: TextIO):
        self._stream = stream
        self._marked = ""
        self.unflushed = False

    def write(self, text: str) -> int:
        if text:
            name = _fixed or _name.partition(".")[0]
            if self._marked != name:
                self._marked = name
                self._stream.write(f"{MARK}{name}\n")
            self.unflushed = True
        return self._stream.write(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        self.unflushed = False
        with contextlib.suppress(ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


_out: _Marked | None = None
_err: _Marked | None = None


def install() -> None:
    """Mark this process's standard streams."""
    global _out, _err
    sys.stdout = _out = _Marked(sys.stdout)
    sys.stderr = _err = _Marked(sys.stderr)
    title("ray::IDLE")
