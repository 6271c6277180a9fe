"""Routes on the scheduler's HTTP server: ``/ray/metrics``, and where the scheduler is.

Needs neither Bokeh nor `prometheus_client`. Dask's own route ``/metrics`` is there only with the
latter, and then shows these figures as well.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from tornado import web

from ray_on_dask.core.exposition import CONTENT_TYPE, Family, exposition
from ray_on_dask.plugins import _dask_compat as dask

logger = logging.getLogger("ray_on_dask")

PATH = "/ray/metrics"
#: Tells who knows the dashboard's address where drivers may join.
ADDRESS = "/ray/address"

Collect = Callable[[], list[Family]]


class _Metrics(web.RequestHandler):
    def initialize(self, collect: Collect) -> None:
        self.collect = collect

    def get(self) -> None:
        self.set_header("Content-Type", CONTENT_TYPE)
        self.finish(exposition(self.collect()))


class _Address(web.RequestHandler):
    def initialize(self, address: str) -> None:
        self.address = address

    def get(self) -> None:
        self.finish({"scheduler": self.address})


class _Collector:
    """The same figures for `prometheus_client`."""

    def __init__(self, collect: Collect):
        self._collect = collect

    def collect(self) -> Iterable[Any]:
        from prometheus_client.core import Metric

        for family in self._collect():
            name = family.name
            if family.kind == "counter":
                name = name.removesuffix("_total")
            metric = Metric(name, family.help, family.kind)
            for suffix, labels, value in family.samples:
                metric.add_sample(family.name + suffix, dict(labels), value)
            yield metric


def install(scheduler: Any, collect: Collect) -> Callable[[], None]:
    """Serve metrics; what is given back takes them away from `prometheus_client` again."""
    dask.add_routes(
        scheduler,
        [
            (PATH, _Metrics, {"collect": collect}),
            (ADDRESS, _Address, {"address": scheduler.address}),
        ],
    )
    try:
        from prometheus_client import REGISTRY
    except ImportError:
        return lambda: None
    collector = _Collector(collect)
    try:
        REGISTRY.register(collector)
    except ValueError as error:  # another scheduler of this process has registered its own
        logger.debug("metrics are at %s alone: %s", PATH, error)
        return lambda: None
    return lambda: REGISTRY.unregister(collector)
