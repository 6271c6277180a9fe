"""This package's pages and metrics on Dask's HTTP server, in a local session and elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(90)

Start = Callable[..., Any]
PAGES = ("ray", "ray-executors", "ray-actors", "ray-groups", "ray-errors")


def base() -> str:
    from ray_on_dask.api import init

    url = str(init._context["webui_url"])  # type: ignore[index]
    return url if url.startswith("http") else f"http://{url}"


def get(address: str) -> str:
    with urllib.request.urlopen(address, timeout=30) as reply:
        return str(reply.read().decode())


def rows(ray: Any) -> Any:
    """What the pages show, asked of the scheduler as a page does."""
    from distributed import Client

    from ray_on_dask.runtime import current

    def look(dask_scheduler: Any) -> dict[str, Any]:
        from ray_on_dask.dashboard.rows import Rows

        found = Rows(dask_scheduler.extensions["ray_on_dask"])
        return {
            name: getattr(found, name)()
            for name in (
                "resources",
                "stores",
                "demands",
                "executors",
                "actors",
                "groups",
                "errors",
            )
        }

    address = current.require().asking.ask("session")["scheduler_address"]
    with Client(address, set_as_default=False) as client:
        return client.run_on_scheduler(look)


def test_pages_show_what_there_is(ray_session: Start, until: Any, tmp_path: Any) -> None:
    ray = ray_session(include_dashboard=True, resources={"disk": 2})
    from ray_on_dask.util.placement_group import placement_group

    @ray.remote
    class Counter:
        def add(self) -> int:
            return 1

        def wait(self, path: str) -> None:
            import time

            while not os.path.exists(path):
                time.sleep(0.01)

    @ray.remote
    def fails() -> None:
        raise ValueError("seen on a page")

    counter = Counter.options(name="c").remote()
    ray.get([counter.add.remote() for _ in range(3)])
    gate = str(tmp_path / "gate")
    blocked = [counter.wait.remote(gate), counter.add.remote(), counter.add.remote()]
    group = placement_group([{"disk": 1}], name="g")
    ray.get(group.ready())
    failed = fails.remote()
    never = fails.options(num_cpus=9).remote()
    for page in PAGES:
        assert "Placement groups" in get(base().replace("status", page)), page
    assert 'href="ray"' in get(base())

    def shown() -> Any:
        found = rows(ray)
        (actor,) = found["actors"]
        good = (
            (actor["done"], actor["waiting"], actor["state"]) == (3, 2, "ALIVE")
            and [x["error"] for x in found["errors"]] == ["ValueError: seen on a page"]
            and any(x["running"] == "Counter.wait" and x["memory"] for x in found["executors"])
            and found["demands"]
        )
        return found if good else None

    found = until(shown)
    assert found["demands"][0]["what"] == "fails"
    assert found["demands"][0]["why"] == "no node has it: CPU: 9 wanted, 2 on one node"
    assert found["groups"][0]["bundles"].startswith("1 disk @ 127.0.0.1")
    bars = {x["bar"].split()[-1]: x for x in found["resources"]}
    assert bars["disk"]["text"].startswith("1 of 2 in use")
    assert "of" in found["stores"][0]["text"]
    with open(gate, "w"):
        ray.get(blocked)
    ray.cancel(never)
    del failed


def test_metrics_are_served_with_those_of_programs(ray_session: Start, until: Any) -> None:
    ray = ray_session(include_dashboard=True)

    @ray.remote
    def counts() -> None:
        from ray_on_dask.util.metrics import Counter, Histogram

        Counter("served", tag_keys=("route",)).inc(2, tags={"route": 'a"b'})
        Histogram("latency", boundaries=[1.0]).observe(0.5)

    ray.get(counts.remote())
    url = base().replace("/status", "/ray/metrics")
    until(lambda: "ray_served_total" in get(url))
    text = get(url)
    assert 'ray_served_total{route="a\\"b"} 2\n' in text
    assert "# TYPE ray_latency histogram\n" in text
    assert 'ray_latency_bucket{le="1"} 1\n' in text
    assert 'ray_tasks{Name="counts",State="FINISHED"} 1\n' in text


def test_pages_are_added_to_a_dashboard_that_is_there(dask_cluster: Any, tmp_path: Any) -> None:
    """A scheduler that somebody else has started, with its pages open before the first driver."""
    import ray_on_dask as ray

    ray.shutdown()
    address = dask_cluster.start(1)
    ray.init(address, log_to_driver=False)
    url = base()
    assert get(url.replace("status", "ray-actors")).count("ray-executors") >= 1
    assert 'href="ray"' in get(url)
    assert "ray_cluster_active_nodes 1" in get(url.replace("status", "ray/metrics"))


def test_all_but_the_pages_works_without_bokeh(tmp_path: Any) -> None:
    """Bokeh and jinja2 cannot be imported, neither in the driver nor in the head."""
    blocker = tmp_path / "sitecustomize.py"
    blocker.write_text(
        textwrap.dedent("""
            import sys
            sys.modules["bokeh"] = sys.modules["prometheus_client"] = None
        """)
    )
    program = textwrap.dedent("""
        import urllib.error, urllib.request
        import ray_on_dask as ray
        url = ray.init(num_cpus=1)["webui_url"]
        url = url if url.startswith("http") else f"http://{url}"
        assert ray.get(ray.remote(lambda: 1).remote()) == 1
        try:
            urllib.request.urlopen(url)
        except urllib.error.HTTPError as error:
            print(error.code, error.read().decode())
        metrics = urllib.request.urlopen(url.replace("status", "ray/metrics")).read().decode()
        print("ray_cluster_active_nodes 1" in metrics)
    """)
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    path = os.pathsep.join([str(tmp_path), root])
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": path}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].startswith("501 The dashboard needs Bokeh")
    assert done.stdout.splitlines()[-1] == "True"
