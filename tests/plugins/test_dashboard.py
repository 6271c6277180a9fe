"""The dashboard of a local session: there at once, loaded when somebody looks."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(60)

Start = Callable[..., Any]


def url() -> str:
    from ray_on_dask.api import init

    return str(init._context["webui_url"])  # type: ignore[index]


def get(address: str) -> str:
    with urllib.request.urlopen(address, timeout=30) as reply:
        return str(reply.read().decode())


def test_pages_are_served_and_show_what_ran_before_they_were_opened(
    ray_session: Start, until: Any
) -> None:
    ray = ray_session(include_dashboard=True)

    @ray.remote
    def shown() -> int:
        return 1

    ray.get([shown.remote() for _ in range(3)])
    until(lambda: len([x for x in ray.timeline() if x["name"].endswith("shown")]) == 3)
    loaded = "lambda dask_scheduler: __import__('sys').modules.get('bokeh') is not None"
    from distributed import Client

    from ray_on_dask.runtime import current

    address = current.require().asking.ask("session")["scheduler_address"]
    with Client(address, set_as_default=False) as client:
        assert not client.run_on_scheduler(eval(loaded))
        assert "Bokeh" in get(url())
        assert "Bokeh" in get(url().replace("status", "individual-progress"))
        assert client.run_on_scheduler(eval(loaded))
        stream = client.run_on_scheduler(
            lambda dask_scheduler: [
                x["key"] for x in dask_scheduler.plugins["task-stream"].collect()
            ]
        )
    assert len([key for key in stream if "shown" in key]) == 3
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(url().replace("status", "nowhere"))


def test_a_session_without_a_dashboard_names_none(ray_session: Start) -> None:
    ray_session(include_dashboard=False)
    assert url() == ""


def test_a_given_port_is_used(ray_session: Start) -> None:
    from ray_on_dask.errorlog.server import free_port

    port = free_port()
    ray_session(include_dashboard=True, dashboard_port=port)
    assert url() == f"http://127.0.0.1:{port}/status"
