"""Doors to Dask's dashboard and heartbeats, against a live scheduler and worker.

A test that fails here says which name a release has changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from distributed import Scheduler, Worker
from tornado.httpclient import AsyncHTTPClient

from ray_on_dask.plugins import _dask_compat as dask, http_routes

pytestmark = pytest.mark.timeout(60)


def run(test: Callable[[Any, Any], Awaitable[None]], dashboard: bool = False) -> None:
    async def main() -> None:
        async with Scheduler(
            host="127.0.0.1", port=0, dashboard=dashboard, dashboard_address="127.0.0.1:0"
        ) as scheduler, Worker(
            scheduler.address, nthreads=1, host="127.0.0.1", dashboard=False
        ) as worker:  # fmt: skip
            await asyncio.wait_for(test(scheduler, worker), 40)

    asyncio.run(main())


async def get(scheduler: Any, path: str) -> str:
    url = f"http://127.0.0.1:{scheduler.http_server.port}{path}"
    reply = await AsyncHTTPClient().fetch(url, request_timeout=30)
    return reply.body.decode()


def test_figures_travel_with_the_heartbeat_and_are_columns_of_workers() -> None:
    async def test(scheduler: Any, worker: Any) -> None:
        seen = {"x": [1, 3 << 20, "f", ""], "y": [2, 1 << 20, "", ""]}
        dask.add_figures(worker, lambda: {"executors": seen, "store": {"used": 5 << 20}})
        assert dask.figures(scheduler, "tcp://nowhere") == {}
        await worker.heartbeat()
        while not dask.figures(scheduler, worker.address):
            await asyncio.sleep(0.01)
        assert dask.figures(scheduler, worker.address)["executors"].keys() == seen.keys()
        shown = scheduler.workers[worker.address].metrics
        assert (shown["ray executors"], shown["ray executors' MiB"], shown["ray store MiB"]) == (
            2, 4, 5,
        )  # fmt: skip
        from distributed.dashboard.components.scheduler import WorkerTable

        assert "ray executors" in WorkerTable(scheduler).extra_names
        dask.drop_figures(worker)
        assert not [name for name in worker.metrics if name.startswith("ray")]

    run(test)


def test_pages_are_added_to_a_dashboard_and_to_its_menu() -> None:
    async def test(scheduler: Any, worker: Any) -> None:
        assert dask.has_dashboard(scheduler)
        parts = dask.page_parts()

        def page(scheduler: Any, extra: dict[str, Any], doc: Any) -> None:
            doc.template = (
                __import__("jinja2").Environment(loader=parts.loader).get_template("simple.html")
            )
            doc.template_variables.update(extra)
            doc.theme = parts.theme

        dask.add_pages(scheduler, {"/ours": page, "/ours-too": page},
                       [("ours", "Ours"), ("ours-too", "Ours too")])  # fmt: skip
        for path in ("/ours", "/ours-too", "/status"):
            text = await get(scheduler, path)
            assert text.count('href="ours"') == 2 and "Ours too" in text, path

    run(test, dashboard=True)


def test_a_scheduler_without_a_dashboard_has_none() -> None:
    async def test(scheduler: Any, worker: Any) -> None:
        assert not dask.has_dashboard(scheduler)

    run(test)


def test_metrics_are_with_those_of_dask_where_prometheus_client_is_there() -> None:
    pytest.importorskip("prometheus_client")
    from ray_on_dask.core.exposition import Family

    family = Family("ray_test_total", "counter", "A test")
    family.add(3, kind='a"b')
    histogram = Family("ray_test_seconds", "histogram", "")
    histogram.add_histogram([1.0], [1, 1], 5.0)

    async def test(scheduler: Any, worker: Any) -> None:
        drop = http_routes.install(scheduler, lambda: [family, histogram])
        ours, all_of_them = await get(scheduler, "/ray/metrics"), await get(scheduler, "/metrics")
        for text in (ours, all_of_them):
            assert 'ray_test_total{kind="a\\"b"} 3' in text
            assert 'ray_test_seconds_bucket{le="+Inf"} 2' in text
        assert "dask_scheduler_clients" in all_of_them
        drop()
        assert "ray_test" not in await get(scheduler, "/metrics")

    run(test)
