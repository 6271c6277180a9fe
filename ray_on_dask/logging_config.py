"""`LoggingConfig`: how the loggers of a driver and of its executors write."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

ENCODINGS = ("TEXT", "JSON")
#: What every `logging.LogRecord` has, and may be shown.
_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"asctime", "message"}


@dataclass
class LoggingConfig:
    """How log records look, and which are written.

    Parameters
    ----------
    encoding : str
        ``"TEXT"`` (lines of words, ``key=value`` for what is added) or ``"JSON"`` (an object a
        line).
    log_level : str or int
        The least level of the root logger's records.
    additional_log_standard_attrs : list of str
        Attributes of `logging.LogRecord` to be shown as well, such as ``"name"``.

    Raises
    ------
    ValueError
        For another encoding, and for an attribute that records do not have.
    """

    encoding: str = "TEXT"
    log_level: str | int = "INFO"
    additional_log_standard_attrs: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.encoding not in ENCODINGS:
            raise ValueError(
                f"Invalid encoding type: {self.encoding}. Valid encoding types are: "
                f"{list(ENCODINGS)}"
            )
        for name in self.additional_log_standard_attrs:
            if name not in _ATTRIBUTES:
                raise ValueError(
                    f"Unknown python logging standard attribute: {name}. The valid attributes are: "
                    f"{sorted(_ATTRIBUTES)}"
                )
