"""The command line, as somebody types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

pytestmark = pytest.mark.timeout(90)

Cli = Callable[..., "subprocess.CompletedProcess[str]"]
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module", name="cli")
def command_line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """Runs commands with a directory of their own for sessions; stops what they have started.

    Other clusters of the user are out of their sight, and of `stop`'s.
    """
    folder = f"/tmp/rodcli-{os.getpid()}"
    os.makedirs(folder, mode=0o700)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "ray_on_dask.cli", *words], text=True, timeout=60,
            capture_output=True, cwd=ROOT, env={**os.environ, "DASK_RAY_ON_DASK__TEMP_DIR": folder},
        )  # fmt: skip

    yield run
    run("stop")
    import shutil

    shutil.rmtree(folder)


@pytest.fixture
def head(cli: Cli) -> Iterator[str]:
    """The address of a cluster that was started by the command line."""
    started = cli("start", "--head", "--num-cpus", "2", "--resources", '{"disk": 3}')
    assert started.returncode == 0, started.stderr
    yield started.stdout.split()[4].rstrip(".")
    assert "Stopped" in cli("stop").stdout


def test_a_cluster_is_started_looked_at_and_stopped(cli: Cli, head: str, tmp_path: Path) -> None:
    status = json.loads(cli("status", "--format", "json").stdout)
    assert status["address"] == head
    assert (status["nodes"], status["drivers"]) == (1, 0)
    assert status["total"]["CPU"] == 2 and status["available"]["disk"] == 3
    assert "GiB" in cli("status", "--address", head).stdout
    assert "ALIVE" in cli("nodes").stdout
    assert cli("actors").stdout == "none\n"
    assert json.loads(cli("errors", "--format", "json").stdout) == []
    assert "Wrote" in cli("timeline", str(tmp_path / "t.json")).stdout
    assert isinstance(json.loads((tmp_path / "t.json").read_text()), list)


PROGRAM = """
import sys
import time
import ray_on_dask as ray

ray.init("auto", namespace="n", log_to_driver=False, driver_mode=ray.SILENT_MODE)

@ray.remote
class Server:
    def say(self):
        print("hello from an actor")
        self.made = ray.put(bytes(300_000))  # it is this actor's, and lives with it
        return ray.get(ray.remote(len).remote([self.made]))

server = Server.options(name="srv", lifetime="detached").remote()
ray.get([server.say.remote() for _ in range(3)])
try:
    ray.get(ray.remote(lambda: 1 / 0).remote())
except ZeroDivisionError:
    pass
time.sleep(0.6)  # executors tell what they have run twice a second or so
"""


def test_what_a_program_has_left_is_looked_at(cli: Cli, head: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = cli("run", "--address", head, str(program))
    assert done.returncode == 0, done.stderr
    (actor,) = json.loads(cli("actors", "--format", "json").stdout)
    assert (actor["name"], actor["done"], actor["state"]) == ("srv", 3, "ALIVE")
    tasks = json.loads(cli("tasks", "--state", "FAILED", "--format", "json").stdout)
    assert [task["error_type"] for task in tasks] == ["TASK_EXECUTION_EXCEPTION"]
    assert "FINISHED=3" in cli("summary", "tasks").stdout
    listed = cli("list", "actors", "-f", "class_name=Server", "--detail", "--format", "yaml").stdout
    assert "calls_done: 3" in listed
    objects = json.loads(cli("objects", "--format", "json").stdout)
    (object,) = [x for x in objects if x["call_site"] == "put"]
    assert object["object_size"] >= 300_000 and sum(object["holders"].values()) == 1
    assert object["pid"] == actor["pid"]
    assert "srv" in cli("get", "actors", actor["actor_id"]).stdout
    log = cli("logs").stdout.split()[0]
    assert cli("logs", log).stdout == "hello from an actor\n" * 3
    assert cli("logs", "--pid", str(actor["pid"]), "--tail", "1").stdout == "hello from an actor\n"
    assert "Killed" in cli("kill-actor", "--name", "srv").stdout
    again = cli("kill-actor", "--name", "srv")
    assert again.returncode == 1 and "no actor named srv" in again.stderr
    for words in (
        ["list", "nodes", "-f", "bogus=1"],
        ["get", "actors", "00"],
        ["logs", "--pid", "1"],
    ):
        failed = cli(*words)
        assert failed.returncode == 1 and failed.stderr.startswith("Error: "), words


def test_jobs_are_run_by_the_command_line(cli: Cli, head: str) -> None:
    good = cli("job", "submit", "--submission-id", "one", "--", "echo", "from a job")
    assert good.returncode == 0, good.stderr
    assert "from a job" in good.stdout and "SUCCEEDED" in good.stdout
    assert cli("job", "logs", "one").stdout == "from a job\n"
    bad = cli("job", "submit", "--", "exit 3")
    assert bad.returncode == 1 and "exit code 3" in bad.stdout
    assert cli("job", "status", "one").stdout.startswith("SUCCEEDED")
    rows = json.loads(cli("job", "list", "--format", "json").stdout)
    assert [row["status"] for row in rows] == ["SUCCEEDED", "FAILED"]
    assert cli("job", "status", "none").returncode == 1


def test_speed_is_measured(cli: Cli) -> None:
    done = cli("microbenchmark", "--only", "one", "--seconds", "0.1", "--format", "json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [row["what"] for row in rows] == ["one task and its result", "one actor call"]
    assert all(row["per_second"] > 1 for row in rows)


def test_a_blocking_start_ends_its_cluster(cli: Cli, tmp_path: Path) -> None:
    import signal
    import time

    process = subprocess.Popen(
        [sys.executable, "-m", "ray_on_dask.cli", "start", "--head", "--block", "--num-cpus", "1"],
        stdout=subprocess.PIPE, text=True, cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1",
             "DASK_RAY_ON_DASK__TEMP_DIR": f"/tmp/rodcli-{os.getpid()}"},
    )  # fmt: skip
    assert process.stdout is not None
    assert "Started a cluster" in process.stdout.readline()
    assert cli("status").returncode == 0
    process.send_signal(signal.SIGTERM)  # Ctrl-C may be ignored where tests run in the background
    assert process.wait(30) == 0
    process.stdout.close()
    end = time.monotonic() + 20
    while cli("status").returncode == 0:
        assert time.monotonic() < end


def test_a_node_is_added(cli: Cli, head: str) -> None:
    added = cli("start", "--address", "auto", "--num-cpus", "1", "--object-store-memory", "100MB",
                "--labels", "zone=b,disk=ssd")  # fmt: skip
    assert added.returncode == 0, added.stderr
    rows = json.loads(cli("nodes", "--format", "json").stdout)
    assert sorted(row["resources"]["CPU"] for row in rows) == [1, 2]
    assert {"zone": "b", "disk": "ssd"} in [row["labels"] for row in rows]
    assert 100_000_000 in [row["resources"]["object_store_memory"] for row in rows]


def test_stop_leaves_nothing_and_says_when_there_is_nothing(cli: Cli) -> None:
    cli("start", "--head", "--num-cpus", "1")
    assert cli("stop").stdout == "Stopped 1 processes.\n"
    assert cli("stop").stdout == "Nothing to stop.\n"
    failed = cli("status")
    assert failed.returncode == 1
    assert failed.stderr.startswith("Error: There is no running cluster")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["start"], "Give either --head or --address"),
        (["start", "--head", "--address", "tcp://a:1"], "Give either --head or --address"),
        (["start", "--head", "--num-cpus", "-1"], "cannot be negative"),
        (["start", "--head", "--resources", "disk"], "no JSON object"),
        (["start", "--address", "auto"], "no running cluster"),
        (["start", "--address", "tcp://a:1", "--redis-port", "1"], "goes with --head"),
        (["list", "clusters"], "is not one of"),
        (["job", "submit"], "Missing argument"),
        (["nonsense"], "No such command"),
    ],
)
def test_mistakes_are_named(cli: Cli, words: list[str], text: str) -> None:
    done = cli(*words)
    assert done.returncode != 0
    assert text in done.stderr


def test_each_command_has_help(cli: Cli) -> None:
    from ray_on_dask.cli import main

    assert "ray-on-dask start --head" in cli("--help").stdout
    names = {"start", "stop", "status", "nodes", "actors", "errors", "timeline"}
    context = click.Context(main)
    assert names <= set(main.list_commands(context))
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        assert command is not None and command.help, name
        assert "ray-on-dask" in command.help or isinstance(command, click.Group), name
