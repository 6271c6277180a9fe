"""Sets loggers up as `init` was told: the package's own, and with a `LoggingConfig` the root."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

from ray_on_dask.logging_config import LoggingConfig
from ray_on_dask.runtime import current

#: The package's logger, as it writes to a terminal.
LOGGER = logging.getLogger("ray_on_dask")
_FORMAT = "%(asctime)s\t%(levelname)s %(filename)s:%(lineno)s -- %(message)s"
#: What records have that nobody has added.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"asctime", "message", "taskName"}


class _Stderr(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to what `sys.stderr` is at the moment: notebooks and tests replace it."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> Any:
        return sys.stderr


def configure(level: Any = "info", format: str | None = None) -> None:
    """Have the package's logger write to stderr, from this level on, in this format.

    Raises
    ------
    ValueError
        For a level that is none.
    """
    LOGGER.setLevel(level.upper() if isinstance(level, str) else level)
    LOGGER.propagate = False
    handler = _Stderr()
    handler.setFormatter(logging.Formatter(format or _FORMAT))
    others = [other for other in LOGGER.handlers if not isinstance(other, _Stderr)]
    LOGGER.handlers[:] = [*others, handler]


def apply(config: LoggingConfig) -> None:
    """Have the root logger, and the package's, write to stderr as a `LoggingConfig` says."""
    handler = _Stderr()
    handler.setFormatter(_FORMATTERS[config.encoding](config.additional_log_standard_attrs))
    root = logging.getLogger()
    for logger in (root, LOGGER):
        logger.handlers[:] = [handler]
        logger.setLevel(config.log_level)
    LOGGER.propagate = False


def surroundings() -> dict[str, str]:
    """Where a record is written: ids of job, node, worker, task and actor, as far as there are."""
    process = current.process
    if process is None:
        return {}
    from ray_on_dask.api.runtime_context import get_runtime_context

    context = get_runtime_context()
    found = {
        "job_id": context.get_job_id(), "worker_id": context.get_worker_id(),
        "node_id": context.get_node_id(), "task_id": context.get_task_id(),
        "task_name": context.get_task_name(), "actor_id": context.get_actor_id(),
        "actor_name": context.get_actor_name(),
    }  # fmt: skip
    return {name: value for name, value in found.items() if value}


class _Structured(logging.Formatter):
    """Gathers what of a record is to be shown beyond its text."""

    def __init__(self, attributes: list[str]):
        super().__init__(_FORMAT)
        self.attributes = attributes

    def extras(self, record: logging.LogRecord) -> dict[str, Any]:
        added = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        chosen = {name: getattr(record, name, None) for name in self.attributes}
        return {**surroundings(), **chosen, **added}


class TextFormatter(_Structured):
    """A line of words; what is added follows as ``key=value``."""

    def format(self, record: logging.LogRecord) -> str:
        """One record as text."""
        line = super().format(record)
        return " ".join([line, *(f"{name}={value}" for name, value in self.extras(record).items())])


class JsonFormatter(_Structured):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """One record as JSON."""
        fields: dict[str, Any] = {
            "asctime": self.formatTime(record), "levelname": record.levelname,
            "message": record.getMessage(), "filename": record.filename, "lineno": record.lineno,
        }  # fmt: skip
        if record.exc_info:
            fields["exc_text"] = self.formatException(record.exc_info)
        return json.dumps({**fields, **self.extras(record)}, default=str)


_FORMATTERS: dict[str, type[_Structured]] = {"TEXT": TextFormatter, "JSON": JsonFormatter}
