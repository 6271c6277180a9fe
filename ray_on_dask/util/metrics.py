"""Metrics of one's own: what tasks, actors and drivers count, added up over the cluster.

Each process keeps its values and tells the control store of them once a second; `collected` gives
the sums. Values of the last second of an executor that is killed are lost.

>>> from ray_on_dask.util.metrics import Counter
>>> requests = Counter("requests", description="Requests served", tag_keys=("route",))
>>> requests.inc(2, tags={"route": "/"})
"""

from __future__ import annotations

import bisect
import re
import threading
import warnings
from typing import Any

from ray_on_dask.runtime import current
from ray_on_dask.wire.messages import Ask

__all__ = ["Counter", "Gauge", "Histogram", "collected"]

#: Seconds between two reports to the control store.
EVERY = 1.0
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")

Tags = dict[str, str]


class _Metric:
    """What the three kinds have in common."""

    kind = ""

    def __init__(self, name: str, description: str = "", tag_keys: tuple[str, ...] | None = None):
        if not isinstance(name, str):
            raise TypeError(f"The name of a metric must be a str, but is {name!r}")
        if not name:
            raise ValueError("Empty name is not allowed. Please provide a metric name.")
        if not _NAME.fullmatch(name):
            warnings.warn(
                f"Invalid metric name: {name}. It is not collected: names have letters, digits, "
                "_ and :, and begin with no digit.",
                stacklevel=3,
            )
        tag_keys = () if tag_keys is None else tag_keys
        if not isinstance(tag_keys, tuple):
            raise TypeError(f"tag_keys should be a tuple type, got: {type(tag_keys)}")
        for key in tag_keys:
            if not isinstance(key, str):
                raise TypeError(f"Tag keys must be str, got {type(key)}.")
        self._name, self._description, self._tag_keys = name, description, tag_keys
        self._default_tags: Tags = {}
        self._boundaries: list[float] = []

    def set_default_tags(self, default_tags: Tags) -> Any:
        """Tags for the calls that do not give them; returns the metric.

        Raises
        ------
        ValueError
            For a tag that is none of `tag_keys`.
        TypeError
            For values that are not str.
        """
        for key, value in default_tags.items():
            if key not in self._tag_keys:
                raise ValueError(f"Unrecognized tag key {key}.")
            _check_tag(value)
        self._default_tags = dict(default_tags)
        return self

    @property
    def info(self) -> dict[str, Any]:
        """Name, description, keys of tags, and default tags."""
        return {
            "name": self._name, "description": self._description, "tag_keys": self._tag_keys,
            "default_tags": self._default_tags,
        }  # fmt: skip

    def _record(self, value: Any, tags: Tags | None) -> None:
        if not isinstance(value, int | float):
            raise TypeError(f"value must be int or float, got {type(value)}.")
        for given in (tags or {}).values():
            _check_tag(given)
        complete = {**self._default_tags, **(tags or {})}
        missing = [key for key in self._tag_keys if key not in complete]
        if missing:
            raise ValueError(f"Missing value for tag key(s): {','.join(missing)}.")
        if _NAME.fullmatch(self._name):
            _unsent.add(self, float(value), complete)

    def __reduce__(self) -> tuple[Any, ...]:
        args: tuple[Any, ...] = (self._name, self._description)
        args += (self._boundaries, self._tag_keys) if self._boundaries else (self._tag_keys,)
        return _restore, (type(self), args, self._default_tags)


def _restore(kind: type[_Metric], args: tuple[Any, ...], default_tags: Tags) -> Any:
    return kind(*args).set_default_tags(default_tags)


def _check_tag(value: Any) -> None:
    if not isinstance(value, str):
        raise TypeError(f"Tag values must be str, got {type(value)}.")


class Counter(_Metric):
    """A sum that only grows.

    Parameters
    ----------
    name : str
    description : str
    tag_keys : tuple of str, optional
        The tags that each call gives a value for, unless there is a default.
    """

    kind = "counter"

    def inc(self, value: float = 1.0, tags: Tags | None = None) -> None:
        """Add to the sum. `ValueError` if `value` is not above 0, or a tag is missing."""
        if isinstance(value, int | float) and value <= 0:
            raise ValueError(f"value must be >0, got {value}")
        self._record(value, tags)


class Gauge(_Metric):
    """A value that goes up and down: the last one that was set counts."""

    kind = "gauge"

    def set(self, value: float | None, tags: Tags | None = None) -> None:
        """Set the value; None is ignored. `TypeError` for what is no number."""
        if value is not None:
            self._record(value, tags)


class Histogram(_Metric):
    """How often observed values were within each of some boundaries.

    Parameters
    ----------
    name : str
    description : str
    boundaries : list of float
        Upper bounds of the buckets, above 0.
    tag_keys : tuple of str, optional
    """

    kind = "histogram"

    def __init__(
        self,
        name: str,
        description: str = "",
        boundaries: list[float] | None = None,
        tag_keys: tuple[str, ...] | None = None,
    ):
        super().__init__(name, description, tag_keys)
        if not boundaries:
            raise ValueError(
                "boundaries argument should be provided when using the Histogram class. "
                'e.g., Histogram("name", boundaries=[1.0, 2.0])'
            )
        for index, boundary in enumerate(boundaries):
            if boundary <= 0:
                raise ValueError(
                    f"Invalid `boundaries` argument at index {index}, {boundaries}. "
                    "Use positive values for the arguments."
                )
        self._boundaries = sorted(boundaries)

    @property
    def info(self) -> dict[str, Any]:
        """As of the other kinds, and the boundaries."""
        return {**super().info, "boundaries": self._boundaries}

    def observe(self, value: float, tags: Tags | None = None) -> None:
        """Count one value. `TypeError` for what is no number."""
        self._record(value, tags)


def collected() -> list[dict[str, Any]]:
    """All metrics of the cluster, as the control store knows them.

    Returns
    -------
    list of dict
        ``kind``, ``name``, ``description``, ``tags``, ``value``; for histograms ``boundaries``
        and ``counts`` as well, with ``value`` the sum of all observations. What other
        processes have counted in the last second may be missing.
    """
    process = current.require()
    _unsent.send(process)
    found: list[dict[str, Any]] = process.asking.ask("metrics")
    return found


class _Unsent:
    """What this process has counted and not told the control store yet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._points: dict[tuple[Any, ...], list[Any]] = {}
        self._thread: threading.Thread | None = None

    def add(self, metric: _Metric, value: float, tags: Tags) -> None:
        """Count a value."""
        key = (metric.kind, metric._name, tuple(sorted(tags.items())))
        with self._lock:
            point = self._points.get(key)
            if point is None:
                counts = [0] * (len(metric._boundaries) + 1) if metric._boundaries else []
                point = [metric.kind, metric._name, metric._description, tags,
                         metric._boundaries, 0.0, counts]  # fmt: skip
                self._points[key] = point
            point[5] = value if metric.kind == "gauge" else point[5] + value
            if metric._boundaries:
                point[6][bisect.bisect_left(metric._boundaries, value)] += 1
            if self._thread is None or not self._thread.is_alive():
                self._start()

    def _start(self) -> None:
        self._thread = threading.Thread(
            target=self._report, name="ray_on_dask-metrics", daemon=True
        )
        self._thread.start()

    def _report(self) -> None:
        pause = threading.Event()
        while not pause.wait(EVERY):
            process = current.process
            if process is not None and not process.closing:
                self.send(process)

    def send(self, process: Any) -> None:
        """Tell the control store; its answer, under a number that nobody waits for, is dropped."""
        with self._lock:
            points, self._points = list(self._points.values()), {}
        if points:
            with process.lock:
                process.to_hub(Ask(0, "record_metrics", {"points": points}))
                process.send_out()


_unsent = _Unsent()
