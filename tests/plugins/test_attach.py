"""Drivers that join clusters which run already, on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ray_on_dask as ray

pytestmark = pytest.mark.timeout(90)


@pytest.fixture
def short_path() -> Iterator[str]:
    """A directory with a path that is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="rod", dir="/tmp") as path:
        yield path


def nodes_alive() -> int:
    return sum(node["Alive"] for node in ray.nodes())


def node_processes(count: int) -> list[Any]:
    """A ref for each of `count` tasks, to the process id of its executor's node."""

    @ray.remote(scheduling_strategy="SPREAD")
    def where() -> int:
        import time

        time.sleep(0.05)
        return os.getppid()

    return [where.remote() for _ in range(count)]


@pytest.mark.parametrize("nanny", [False, True], ids=["no nanny", "nanny"])
def test_a_driver_makes_nodes_of_the_workers_of_a_plain_cluster(
    dask_cluster: Any, until: Any, nanny: bool
) -> None:
    context = ray.init(dask_cluster.start(2, nanny=nanny))
    assert context["webui_url"].startswith("http://127.0.0.1:")
    until(lambda: nodes_alive() == 2)
    assert ray.cluster_resources()["CPU"] == 2
    until(lambda: len(set(ray.get(node_processes(20), timeout=60))) == 2, 60.0)


def test_objects_made_on_one_node_are_read_and_freed_from_another(
    dask_cluster: Any, until: Any
) -> None:
    """The owner's node is not the one that has the objects: frees must find their way."""
    from distributed import Client

    address = dask_cluster.start(2)
    ray.init(address)
    until(lambda: nodes_alive() == 2)

    @ray.remote(scheduling_strategy="SPREAD")
    def make(i: int) -> Any:
        return np.full(50_000, i)

    @ray.remote(scheduling_strategy="SPREAD")
    def total(array: Any) -> int:
        return int(array.sum())

    refs = [make.remote(i) for i in range(8)]
    assert ray.get([total.remote(ref) for ref in refs], timeout=30) == [
        50_000 * i for i in range(8)
    ]
    with Client(address, set_as_default=False) as client:

        def keys() -> set[str]:
            return {key for held in client.has_what().values() for key in held}

        until(lambda: len(keys()) == 8)
        assert all(key.startswith("make-") for key in keys())
        del refs
        until(lambda: not keys())


def test_a_worker_that_comes_late_is_a_node_and_one_that_goes_is_none(
    dask_cluster: Any, until: Any
) -> None:
    ray.init(dask_cluster.start(1, "--preload", "ray_on_dask.plugins.scheduler"))
    late = dask_cluster.add_worker()
    until(lambda: nodes_alive() == 2)
    until(lambda: len(set(ray.get(node_processes(20), timeout=60))) == 2, 60.0)
    late.send_signal(signal.SIGTERM)
    until(lambda: nodes_alive() == 1)
    assert len(set(ray.get(node_processes(5), timeout=30))) == 1


def test_the_end_of_a_driver_ends_nothing_but_its_job(dask_cluster: Any, until: Any) -> None:
    address = dask_cluster.start(1)
    ray.init(address)
    ray.shutdown()
    ray.init(address)
    assert len(ray.get(node_processes(2), timeout=30)) == 2
    assert all(process.poll() is None for process in dask_cluster.processes)


@pytest.mark.parametrize("end", ["sys.exit()", "os.kill(os.getpid(), 9)"], ids=["exit", "kill"])
def test_what_only_a_driver_knew_goes_with_it(dask_cluster: Any, until: Any, end: str) -> None:
    """Objects that never left their owner have no entry in the directory, but lie on nodes."""
    from distributed import Client

    address = dask_cluster.start(1)
    program = (
        "import os, sys, time, numpy as np, ray_on_dask as ray\n"
        f"ray.init({address!r})\n"
        "make = ray.remote(np.ones)\n"
        "refs = [ray.put(np.ones(50_000)), make.remote(50_000)]\n"
        "ray.get(refs); print('ready', flush=True); sys.stdin.readline()\n" + end
    )
    driver = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with Client(address, set_as_default=False) as client:
        assert driver.stdout is not None and driver.stdin is not None
        assert driver.stdout.readline() == b"ready\n"
        until(lambda: sum(map(len, client.has_what().values())) == 2)
        driver.stdin.close()
        driver.wait(10)
        until(lambda: not any(client.has_what().values()), 5.0)
        driver.stdout.close()


def test_a_restart_by_a_client_makes_new_nodes(dask_cluster: Any, until: Any) -> None:
    """`Client.restart` asserts that no key is left, and kills every node, the driver's too."""
    from distributed import Client

    address = dask_cluster.start(2, nanny=True)
    ray.init(address)
    ref = ray.put(np.ones(50_000))
    with Client(address, set_as_default=False) as client:
        until(lambda: any(client.has_what().values()))
        client.restart(timeout=30)
        with pytest.raises(ray.exceptions.RayError):
            ray.get(node_processes(1), timeout=10)
        del ref
        ray.shutdown()
        ray.init(client)
        assert len(ray.get(node_processes(2), timeout=30)) == 2


def test_options_of_preloads_reach_the_nodes(dask_cluster: Any, short_path: str) -> None:
    address = dask_cluster.start(0, "--preload", "ray_on_dask.plugins.scheduler")
    dask_cluster.add_worker(
        "--resources", "GPU=2 Custom1=4", "--preload", "ray_on_dask.plugins.worker",
        "--object-store-memory", "100MB", "--ray-temp-dir", short_path, "--ray-num-cpus", "3",
        "--ray-memory", "1GB", "--ray-resources", "disk=4 net=0.5", "--labels", "zone=a, x/y=",
    )  # fmt: skip
    context = ray.init(address)
    have = ray.cluster_resources()
    assert have["object_store_memory"] == 100_000_000 and have["memory"] == 1_000_000_000
    wanted = {"CPU": 3.0, "GPU": 2.0, "Custom1": 4.0, "disk": 4.0, "net": 0.5}
    assert {name: have.get(name) for name in wanted} == wanted
    assert ray.nodes()[0]["Labels"].items() >= {"zone": "a", "x/y": ""}.items()
    assert context["session_dir"].startswith(short_path)


def test_settings_say_the_same_as_options_of_preloads(
    dask_cluster: Any, short_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what an option says comes first."""
    folder = Path(short_path) / "config"
    folder.mkdir()
    (folder / "ours.yaml").write_text(
        "ray-on-dask:\n  labels: {zone: b, rack: r1}\n  resources: {disk: 4}\n  num-cpus: 3\n"
        "  object-store-memory: 100MB\n  num-gpus: 1\n"
    )
    monkeypatch.setenv("DASK_CONFIG", str(folder))
    address = dask_cluster.start(0, "--preload", "ray_on_dask.plugins.scheduler", "--labels", "z=1")
    dask_cluster.add_worker("--preload", "ray_on_dask.plugins.worker", "--labels", "zone=a")
    ray.init(address)
    have = ray.cluster_resources()
    assert (have["CPU"], have["GPU"], have["disk"]) == (3.0, 1.0, 4.0)
    assert have["object_store_memory"] == 100_000_000
    labels = ray.nodes()[0]["Labels"]
    assert (labels["zone"], labels["rack"]) == ("a", "r1")


@pytest.mark.parametrize(
    ("which", "options", "text"),
    [
        ("scheduler", ["--object-store-memory", "much"], "is no size"),
        ("scheduler", ["--ray-redis-shards", "-1"], "-1"),
        ("worker", ["--labels", "zone"], "is no label"),
        ("worker", ["--ray-resources", "disk=-1"], "is no quantity"),
        ("worker", ["--plasma", "/x"], "--plasma-directory"),
    ],
)
def test_a_wrong_option_of_a_preload_ends_the_process(
    which: str, options: list[str], text: str, dask_cluster: Any
) -> None:
    where = [dask_cluster.start(0)] if which == "worker" else ["--port", "0"]
    done = subprocess.run(
        [sys.executable, "-m", "dask", which, *where, "--preload", f"ray_on_dask.plugins.{which}",
         *options], capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode != 0 and text in done.stderr, done.stderr


def test_options_of_preloads_are_explained() -> None:
    for which in ("scheduler", "worker"):
        command = [sys.executable, "-m", f"ray_on_dask.plugins.{which}", "--help"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and not done.stderr
        for option in ("--ray-redis", "--plasma-directory", "--labels", "--ray-num-cpus"):
            assert option in done.stdout


def test_why_a_worker_could_not_become_a_node_is_told(
    dask_cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, until: Any
) -> None:
    """It comes after the plugins: the reason would else be in its own log alone."""
    monkeypatch.setenv("DASK_RAY_ON_DASK__NODE_TIMEOUT", "8")
    address = dask_cluster.start(0, "--preload", "ray_on_dask.plugins.scheduler")
    too_long = str(tmp_path / ("x" * 90))
    dask_cluster.add_worker("--preload", "ray_on_dask.plugins.worker", "--ray-temp-dir", too_long)
    with pytest.raises(ConnectionError, match=r"could not become a node: .* too long"):
        ray.init(address)


def test_auto_joins_the_latest_cluster_without_importing_dask(dask_cluster: Any) -> None:
    ray.init(dask_cluster.start(1))
    program = (
        "import sys, ray_on_dask as ray\n"
        "print(ray.init('auto')['address'])\n"
        "assert 'distributed' not in sys.modules\n"
        "assert ray.get(ray.put(1)) == 1\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30
    )
    assert done.stdout.strip() == dask_cluster.address, done.stderr


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("auto", "no running cluster"),
        ("tcp://127.0.0.1:1", "No Dask scheduler answers at tcp://127.0.0.1:1"),
        ("127.0.0.1:1", "Redis at"),
    ],
)
def test_where_there_is_no_cluster_the_error_says_so(
    address: str, text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DASK_RAY_ON_DASK__CONNECT_TIMEOUT", "0.5")
    monkeypatch.setenv("DASK_RAY_ON_DASK__TEMP_DIR", str(tmp_path))
    with pytest.raises(ConnectionError, match=text):
        ray.init(address)
    assert not ray.is_initialized()


def test_a_cluster_without_a_node_here_says_what_to_do(
    dask_cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASK_RAY_ON_DASK__NODE_TIMEOUT", "0.2")
    with pytest.raises(ConnectionError, match=r"start a worker here \(`dask worker tcp://"):
        ray.init(dask_cluster.start(0))


def test_the_texts_for_clusters_of_other_hosts_and_users() -> None:
    from ray_on_dask.plugins.attach import _no_node
    from ray_on_dask.runtime.directories import host_id

    node = {"alive": True, "hostname": "far", "ip": "10.0.0.9", "host": "boot-1-0"}
    info = {"failures": {}, "nodes": [node]}
    assert "far (10.0.0.9), but none on this host" in _no_node(info, "tcp://a:1")
    node["host"] = host_id().rpartition("-")[0] + "-99999"
    assert "another user" in _no_node(info, "tcp://a:1")
    info["failures"] = {"tcp://b:2": "no module"}
    assert _no_node(info, "tcp://a:1") == (
        "The Dask worker at tcp://b:2 could not become a node: no module"
    )


def test_another_version_is_refused() -> None:
    from ray_on_dask.plugins.attach import _check_version

    with pytest.raises(RuntimeError, match=r"0\.0\.0, this driver"):
        _check_version("0.0.0", "tcp://a:1")


def test_a_driver_joins_no_node_that_is_about_to_leave_if_there_is_another() -> None:
    from ray_on_dask.plugins.attach import _best

    leaving = {"draining": True, "executors": 9}
    nodes = [leaving, {"draining": False, "executors": 0}, {"draining": False, "executors": 2}]
    assert _best(nodes) == nodes[2]
    assert _best([leaving]) == leaving


def test_what_a_worker_had_that_is_terminated_is_run_again_elsewhere(
    dask_cluster: Any, until: Any, tmp_path: Path
) -> None:
    """By SIGTERM to `dask worker`, which ends its executors at once and hands nothing over."""
    ray.init(dask_cluster.start(1))
    home = ray.get_runtime_context().get_node_id()
    ending = dask_cluster.add_worker("--resources", "ending=9", nanny=True)
    until(lambda: "ending" in ray.cluster_resources(), 40)
    other = next(node["NodeID"] for node in ray.nodes() if node["NodeID"] != home)
    there = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(other, soft=True)
    started = tmp_path / "started"

    @ray.remote(max_retries=1, num_cpus=0, scheduling_strategy=there)
    def node() -> str:
        if not started.exists():
            started.write_text(str(os.getpid()))
            time.sleep(1000)
        return str(ray.get_runtime_context().get_node_id())

    @ray.remote(max_retries=1, num_cpus=0, scheduling_strategy=there)
    def array() -> Any:
        return np.ones(200_000)

    stored = array.remote()
    ray.wait([stored], timeout=30.0)
    ref = node.remote()
    until(lambda: started.exists() and started.read_text(), 30)
    ending.send_signal(signal.SIGTERM)
    assert ray.get(ref, timeout=30) == home
    assert ray.get(stored, timeout=30).sum() == 200_000
    assert ending.wait(30) is not None
    until(lambda: not os.path.exists(f"/proc/{started.read_text()}"), 10)
