"""Lines that tasks print, as the driver shows them: `(name pid=N) text`.

When several processes print the same line within some seconds, the first is
shown at once and the others as one more, with their number:

    (train pid=11) step done
    (train pid=14) step done [repeated 3x across cluster]

Lines that differ in their numbers alone count as the same. What one process
prints alone is never merged, however often it repeats itself.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

#: Seconds after a line within which others like it are held back.
WINDOW = 5.0
#: Lines that are remembered at a time.
REMEMBERED = 10_000

_CYAN, _GREEN, _PLAIN = "\x1b[36m", "\x1b[32m", "\x1b[0m"
_NUMBER = re.compile(r"\d+")
_NOTICE = " (identical lines are merged; RAY_DEDUP_LOGS=0 shows them all)"

Write = Callable[[str, bool], object]
Source = tuple[str | None, int]
#: Whether it is an error line, and the text without its numbers.
Key = tuple[bool, str]


@dataclass
class _Seen:
    """A line that was shown not long ago."""

    at: float
    sources: set[Source]
    #: How many like it have come since.
    held: int = 0
    #: The last of them, ready to be shown.
    last: str = ""


class LogPrinter:
    """Writes lines of tasks, merging those that many processes print. Not for several threads.

    Parameters
    ----------
    write : callable
        Takes a text with its newline, and whether it belongs on stderr.
    now : callable
        The clock, in seconds, whose time `tick` is given.
    color : bool
        Whether the prefix is cyan and the count green.
    dedup : bool
        Whether lines are merged at all.
    window : float
        Seconds within which they are.
    """

    def __init__(
        self,
        write: Write,
        now: Callable[[], float],
        color: bool = True,
        dedup: bool = True,
        window: float = WINDOW,
    ):
        self._write = write
        self._now = now
        self._color = color
        self._dedup = dedup
        self._window = window
        #: By the time of the last line shown, the oldest first.
        self._seen: dict[Key, _Seen] = {}
        self._noticed = False
        self._held = 0

    @classmethod
    def from_environment(
        cls, write: Write, now: Callable[[], float], environ: Mapping[str, str] = os.environ
    ) -> LogPrinter:
        """A printer as the environment wants it.

        `RAY_DEDUP_LOGS=0` turns merging off, `RAY_DEDUP_LOGS_AGG_WINDOW_S` sets
        its window; `RAY_COLOR_PREFIX=0` or `NO_COLOR` turn colors off.
        """
        color = environ.get("RAY_COLOR_PREFIX") != "0" and not environ.get("NO_COLOR")
        dedup = environ.get("RAY_DEDUP_LOGS", "1") != "0"
        window = float(environ.get("RAY_DEDUP_LOGS_AGG_WINDOW_S") or WINDOW)
        return cls(write, now, color, dedup, window)

    @property
    def pending(self) -> bool:
        """Whether lines are held back, so that `tick` must be called."""
        return self._held > 0

    def line(self, name: str, pid: int, ip: str | None, text: str, is_err: bool = False) -> None:
        """Show one line, or hold it back if others have just printed the same.

        Parameters
        ----------
        name : str
            The task's, or the actor's.
        pid : int
            Of the process.
        ip : str, optional
            Of its host; None if that is the driver's own, and goes without saying.
        text : str
            Without its newline.
        is_err : bool
            Whether it was written to stderr.
        """
        shown = self._prefix(name, pid, ip) + " " + text
        if not self._dedup:
            self._write(shown + "\n", is_err)
            return
        now = self._now()
        self.tick(now)
        key = (is_err, _NUMBER.sub("#", text))
        seen = self._seen.get(key)
        if seen is None or seen.sources == {(ip, pid)}:
            self._show_at_once(key, (ip, pid), shown, now)
        else:
            self._hold(seen, (ip, pid), shown)

    def tick(self, now: float) -> None:
        """Show what has been held back for as long as it may, and forget older lines.

        `float("inf")` shows everything, as at the end of a session.
        """
        while self._seen:
            key, seen = next(iter(self._seen.items()))
            if now - seen.at < self._window and len(self._seen) <= REMEMBERED:
                break
            del self._seen[key]
            if seen.held:
                self._show_merged(key, seen, now)

    def _show_at_once(self, key: Key, source: Source, shown: str, now: float) -> None:
        self._write(shown + "\n", key[0])
        self._seen.pop(key, None)
        self._seen[key] = _Seen(now, {source})

    def _hold(self, seen: _Seen, source: Source, shown: str) -> None:
        seen.sources.add(source)
        seen.held += 1
        seen.last = shown
        self._held += 1

    def _show_merged(self, key: Key, seen: _Seen, now: float) -> None:
        count = f" [repeated {seen.held}x across cluster]" if seen.held > 1 else ""
        if count and not self._noticed:
            count, self._noticed = count + _NOTICE, True
        if count and self._color:
            count = f"{_GREEN}{count}{_PLAIN}"
        self._write(f"{seen.last}{count}\n", key[0])
        self._held -= seen.held
        if now != float("inf"):
            # What goes on being printed by many goes on being merged.
            self._seen[key] = _Seen(now, seen.sources)

    def _prefix(self, name: str, pid: int, ip: str | None) -> str:
        where = f"({name} pid={pid}, ip={ip})" if ip else f"({name} pid={pid})"
        return f"{_CYAN}{where}{_PLAIN}" if self._color else where
