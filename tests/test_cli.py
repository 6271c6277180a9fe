"""The command line, as somebody types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

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


def test_a_node_is_added(cli: Cli, head: str) -> None:
    added = cli("start", "--address", head, "--num-cpus", "1", "--object-store-memory", "100MB")
    assert added.returncode == 0, added.stderr
    rows = json.loads(cli("nodes", "--format", "json").stdout)
    assert sorted(row["resources"]["CPU"] for row in rows) == [1, 2]
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
    assert names <= set(main.commands)
    for name, command in main.commands.items():
        assert command.help, name
