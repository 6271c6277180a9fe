"""The error log of a running session: Redis comes up beside it, dies, comes back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(60)

Start = Callable[..., Any]


def fail(ray: Any, text: str) -> None:
    """Run a task that fails, saying `text`."""

    @ray.remote(max_retries=0)
    def failing(text: str) -> None:
        raise ValueError(text)

    with pytest.raises(ValueError, match=text):
        ray.get(failing.remote(text), timeout=20)


def said(ray: Any) -> list[str]:
    """The last word of each message in the log."""
    return [record["message"].split()[-1] for record in ray.error_info()]


def redis_client(ray: Any) -> Any:
    import redis

    from ray_on_dask.runtime import current

    return redis.Redis.from_url(current.require().asking.ask("redis")["urls"][0])


def test_failures_are_read_back(ray_session: Start, until: Any) -> None:
    ray = ray_session()
    fail(ray, "first")
    fail(ray, "second")
    until(lambda: said(ray) == ["first", "second"])
    record = ray.error_info()[0]
    assert record["type"] == "task"
    assert "failing" in record["data"]
    assert record["job_id"] == "1"


def test_the_log_goes_on_after_redis_was_killed(ray_session: Start, until: Any) -> None:
    """What it held is lost, as it holds all in memory; nothing else fails meanwhile."""
    ray = ray_session()
    fail(ray, "before")
    until(lambda: said(ray) == ["before"])
    os.kill(redis_client(ray).info("server")["process_id"], signal.SIGKILL)
    fail(ray, "meanwhile")
    until(lambda: "meanwhile" in said(ray))
    fail(ray, "after")
    until(lambda: said(ray)[-2:] == ["meanwhile", "after"])


def test_the_address_that_init_returns_is_the_servers_and_needs_its_password(
    ray_session: Start, until: Any
) -> None:
    import redis

    from ray_on_dask.api import init
    from ray_on_dask.errorlog.server import connection_options

    ray = ray_session()

    host, _, port = init._context["redis_address"].partition(":")  # type: ignore[index]
    assert host == "127.0.0.1"
    assert ray.error_info() == []
    assert redis_client(ray).connection_pool.connection_kwargs["port"] == int(port)
    with pytest.raises(redis.RedisError):
        redis.Redis(host, int(port), **connection_options()).ping()


def test_errors_are_spread_over_the_shards(ray_session: Start, until: Any) -> None:
    ray = ray_session(num_redis_shards=2)
    fail(ray, "here")
    until(lambda: said(ray) == ["here"])
    from ray_on_dask.runtime import current

    urls = current.require().asking.ask("redis")["urls"]
    assert len(set(urls)) == 3
    assert redis_client(ray).keys("*errors*") == []


def test_another_driver_joins_by_the_redis_address(ray_session: Start) -> None:
    """On this machine the password is known to the user's own programs."""
    ray_session()
    from ray_on_dask.api import init

    program = (
        "import ray_on_dask as ray\n"
        f"print(ray.init(redis_address={init._context['redis_address']!r})['address'])\n"  # type: ignore[index]
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30
    )
    assert done.stdout.strip() == init._context["address"], done.stderr  # type: ignore[index]


def test_a_password_leads_to_the_scheduler_through_redis_itself(
    ray_session: Start, until: Any
) -> None:
    ray = ray_session()
    assert ray.error_info() == []  # Redis is up
    from urllib.parse import urlsplit

    from ray_on_dask.errorlog.address import get_address
    from ray_on_dask.runtime import current

    asking = current.require().asking
    url = urlsplit(asking.ask("redis")["urls"][0])
    found = get_address(f"{url.hostname}:{url.port}", url.password)
    assert found == asking.ask("session")["scheduler_address"]


def test_a_given_server_is_used_and_left_running(
    ray_session: Start, until: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray_on_dask.errorlog import server

    shard = server.start(tmp_path)[0]
    try:
        monkeypatch.setenv("RAY_ON_DASK_REDIS", shard.url)
        ray = ray_session()
        fail(ray, "kept")
        until(lambda: said(ray) == ["kept"])
        ray.shutdown()
        import redis

        client = redis.Redis.from_url(shard.url)
        until(lambda: client.keys("*errors*"))
    finally:
        shard.stop()


def test_without_any_redis_server_nothing_else_fails(
    ray_session: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ON_DASK_REDIS", "redis://127.0.0.1:1/0")
    from ray_on_dask.api import error_info

    monkeypatch.setattr(error_info, "PATIENCE", 0.2)
    ray = ray_session()
    fail(ray, "unheard")
    assert ray.error_info() == []


def test_the_timeline_has_what_ran(ray_session: Start, until: Any, tmp_path: Path) -> None:
    import json

    ray = ray_session()

    @ray.remote
    def named() -> int:
        return 1

    ray.get([named.remote() for _ in range(3)])
    until(lambda: len([x for x in ray.timeline() if x["name"].endswith("named")]) == 3)
    ray.timeline(str(tmp_path / "t.json"))
    assert json.loads((tmp_path / "t.json").read_text())
