"""Dask's dashboard for a local session: its port is open at once, its pages are loaded when used.

Importing Bokeh costs more time and memory than all the rest of a head, and most sessions end
without anybody having looked.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from tornado import web

from ray_on_dask.plugins import _dask_compat as dask

logger = logging.getLogger("ray_on_dask")

#: Tried first if no port is given, then any that is free.
PORT = 8787


def address(host: str, port: int | None) -> str:
    """Where the scheduler is to listen for browsers."""
    from ray_on_dask.errorlog.server import port_is_free

    if port is None:
        port = PORT if port_is_free(host, PORT) else 0
    return f"{host}:{port}"


class _Opening(web.RequestHandler):
    """The first request for a page: load them all, then ask for it again."""

    async def get(self) -> None:
        opening: Opening = self.application.opening  # type: ignore[attr-defined]
        try:
            await opening.open()
        except ImportError as error:
            self.set_status(501)
            self.finish(f"The dashboard needs Bokeh: {error}")
            return
        uri = self.request.uri or "/"
        self.redirect("/" + uri.lstrip("/\\"))


class Opening(web.Application):
    """Stands in for the dashboard's pages until one is asked for."""

    def __init__(self, scheduler: Any, on_open: Callable[[], None]):
        super().__init__([(r"/.*", _Opening)])
        self.opening = self
        self._scheduler = scheduler
        self._on_open = on_open
        self._opened: asyncio.Future[None] | None = None

    async def open(self) -> None:
        """Load the pages; `ImportError` without Bokeh."""
        if self._opened is None:
            self._opened = asyncio.ensure_future(self._open())
        await self._opened

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, _load)
        self._on_open()
        dask.show_dashboard(self._scheduler, instead_of=self)
        add_pages(self._scheduler)


def _load() -> None:
    dask.load_dashboard()
    import ray_on_dask.dashboard.pages  # noqa: F401


def add_pages(scheduler: Any) -> None:
    """Add this package's pages to a dashboard that is there; an error is logged, not raised."""
    from ray_on_dask.dashboard import pages

    try:
        plugin = dask.claimed(scheduler, "ray_on_dask")
        menu = [(url, f"Ray {name.lower()}") for url, name in pages.PAGES]
        dask.add_pages(scheduler, pages.applications(plugin, dask.page_parts()), menu)
    except Exception:
        logger.exception("no pages of ray_on_dask on the dashboard")


def install(scheduler: Any, on_open: Callable[[], None]) -> str:
    """Have the dashboard there on demand, `on_open` called at the first; its URL."""
    dask.add_application(scheduler, Opening(scheduler, on_open))
    return dask.dashboard_url(scheduler)
