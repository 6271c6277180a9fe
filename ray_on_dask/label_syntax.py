"""What labels of nodes may be called, and what they may be."""

from __future__ import annotations

import re

_NAME = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9._-]{0,61}[a-zA-Z0-9])?")
_PREFIX = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


def is_label_key(key: str) -> bool:
    """Whether it is ``[prefix/]name``."""
    prefix, slash, name = key.rpartition("/")
    return bool(_NAME.fullmatch(name) and (not slash or _PREFIX.fullmatch(prefix)))


def is_label_value(value: str) -> bool:
    """Whether it is a label's value that is not empty."""
    return bool(_NAME.fullmatch(value))
