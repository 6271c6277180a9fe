"""What is left out of a folder that is taken along: patterns as in a ``.gitignore``."""

from __future__ import annotations

import re
from collections.abc import Iterable


class IgnoreRules:
    """Patterns, of which the last one that fits a path decides.

    Parameters
    ----------
    lines : iterable of str
        As in a ``.gitignore``: ``*.log``, ``/data``, ``build/``, ``a/**/b``, ``!kept.log``.
    """

    def __init__(self, lines: Iterable[str]):
        self._rules = [rule for line in lines if (rule := _rule(line.rstrip("\r\n"))) is not None]

    def leaves(self, path: str, is_folder: bool) -> bool:
        """Whether a path, relative to where the patterns hold, is left out."""
        left = False
        for fits, folders_only, kept in self._rules:
            if (is_folder or not folders_only) and fits.fullmatch(path):
                left = not kept
        return left


def _rule(line: str) -> tuple[re.Pattern[str], bool, bool] | None:
    """A pattern, whether it is for folders alone, whether it keeps what it fits."""
    text = line.rstrip(" ")
    if not text or text.startswith("#"):
        return None
    kept = text.startswith("!")
    text = text.removeprefix("!").removeprefix("\\").removeprefix("./")
    folders_only = text.endswith("/")
    text = text.rstrip("/")
    if not text:
        return None
    anywhere = "" if "/" in text else "(?:.*/)?"
    return re.compile(anywhere + _expression(text.lstrip("/")), re.DOTALL), folders_only, kept


def _expression(text: str) -> str:
    out, at = "", 0
    while at < len(text):
        closing = text.find("]", at + 2) if text[at] == "[" else -1
        if text.startswith("**/", at):
            out, at = out + "(?:.*/)?", at + 3
        elif text.startswith("**", at):
            out, at = out + ".*", at + 2
        elif text[at] == "*":
            out, at = out + "[^/]*", at + 1
        elif text[at] == "?":
            out, at = out + "[^/]", at + 1
        elif closing > 0:
            inner = text[at + 1 : closing].replace("\\", "\\\\").replace("[", "\\[")
            out += f"[{'^' + inner[1:] if inner[0] in '!^' else inner}]"
            at = closing + 1
        elif text[at] == "\\" and at + 1 < len(text):
            out, at = out + re.escape(text[at + 1]), at + 2
        else:
            out, at = out + re.escape(text[at]), at + 1
    return out
