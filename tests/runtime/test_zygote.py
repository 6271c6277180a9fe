"""The zygote and its client, with real processes: what is asked for comes, and nothing stays."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from ray_on_dask.runtime import process_tree
from ray_on_dask.runtime.directories import NodeDirectories
from ray_on_dask.runtime.zygote_client import ZygoteClient
from ray_on_dask.runtime.zygote_launcher import ZygoteStart

HERE = str(Path(__file__).parent)
LIMIT = 20.0

NODE = """
import asyncio, sys
sys.path.insert(0, {here!r})
from ray_on_dask.runtime.directories import NodeDirectories
from ray_on_dask.runtime.zygote_client import ZygoteClient
from ray_on_dask.runtime.zygote_launcher import ZygoteStart

async def main():
    dirs = NodeDirectories.create(sys.argv[1], sys.argv[2], "node")
    forked = lambda name, pid, out, err: print(pid, flush=True)
    client = ZygoteClient(forked, print, lambda: None)
    client.start(ZygoteStart(dirs.session_dir, dirs.shm_dir, ["zygote_entries"], dirs.locks))
    client.fork("one", {{"entry": "zygote_entries:waits"}})
    client.fork("two", {{"entry": "zygote_entries:starts_processes"}})
    client.spawn("three", ["sleep", "100"])
    await client.ready.wait()
    print(client.pid, flush=True)
    client.alive(1.0)
    for _ in range(500):
        await asyncio.sleep(0.2)
        client.alive(1.0)

asyncio.run(main())
"""


class Node:
    """Remembers what a client reports, and waits for it."""

    def __init__(self) -> None:
        self.client = ZygoteClient(self.forked, self.exited, self.lost)
        self.pids: dict[str, int] = {}
        self.fds: dict[str, tuple[int | None, int | None]] = {}
        self.statuses: dict[str, int] = {}
        self.losses = 0
        self.changed = asyncio.Event()

    def forked(self, name: str, pid: int, out: int | None, err: int | None) -> None:
        self.pids[name], self.fds[name] = pid, (out, err)
        self.changed.set()

    def exited(self, name: str, pid: int, status: int) -> None:
        assert pid == self.pids.get(name, 0)
        self.statuses[name] = status
        self.changed.set()

    def lost(self) -> None:
        self.losses += 1
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.changed.clear()
            await self.changed.wait()

    async def output(self, name: str, error: bool = False) -> str:
        """All that a child prints until it ends."""
        await self.until(lambda: name in self.fds)
        fd = self.fds[name][error]
        assert fd is not None
        return await asyncio.to_thread(open(fd, closefd=False).read)

    async def line(self, name: str) -> str:
        """The first line that a child prints."""
        await self.until(lambda: name in self.fds)
        fd = self.fds[name][0]
        assert fd is not None
        return (await asyncio.to_thread(os.read, fd, 4096)).decode()

    def close_fds(self) -> None:
        for fd in {fd for pair in self.fds.values() for fd in pair if fd is not None}:
            os.close(fd)


@pytest.fixture
def directories(tmp_path: Path) -> Iterator[NodeDirectories]:
    made = NodeDirectories.create("/tmp", None, f"test-{os.getpid()}-{time.monotonic_ns()}")
    yield made
    made.remove()


Scenario = Callable[[Node], Awaitable[None]]


@pytest.fixture
def play(directories: NodeDirectories, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Node]:
    """Run a scenario against a zygote, one of its own; all that it had must be gone at the end."""
    monkeypatch.syspath_prepend(HERE)

    async def run(scenario: Scenario, early: bool) -> Node:
        node = Node()
        how = ZygoteStart(
            directories.session_dir, directories.shm_dir, ["zygote_entries"], directories.locks
        )
        node.client.start(how, how.launched() if early else None)
        try:
            await asyncio.wait_for(scenario(node), LIMIT)
        finally:
            await node.client.close()
            node.close_fds()
        assert not [pid for pid in node.pids.values() if alive(pid)]
        return node

    return lambda scenario, early=False: asyncio.run(run(scenario, early))


def entry(name: str, **params: object) -> dict[str, object]:
    return {"entry": f"zygote_entries:{name}", **params}


def alive(pid: int) -> bool:
    """Whether a process is there and not a zombie that waits for its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> bool:
    """Look at the kernel's tables until they are so; they have no event to wait for."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    return condition()


@pytest.mark.parametrize("early", [False, True])
def test_what_a_child_prints_and_its_status_reach_the_node(play, early):
    async def scenario(node: Node) -> None:
        node.client.fork("a", entry("both_outputs", text="héllo", status=7))
        assert await node.output("a") == "héllo\n"
        assert await node.output("a", error=True) == "and this went wrong\n"
        await node.until(lambda: "a" in node.statuses)
        assert node.statuses == {"a": 7}

    play(scenario, early)


def test_forked_children_draw_different_random_numbers(play):
    async def scenario(node: Node) -> None:
        for name in "abc":
            node.client.fork(name, entry("numbers"))
        drawn = [number for name in "abc" for number in (await node.output(name)).split()]
        assert len(set(drawn)) == 6

    play(scenario)


def test_a_child_keeps_nothing_of_the_zygote(play):
    """It leads a session of its own, has three descriptors, default handlers, an empty main."""

    async def scenario(node: Node) -> None:
        node.client.fork("a", entry("situation"))
        expected = [True, [0, 1, 2], True, True, [], [], False]
        assert (await node.output("a")).strip() == str(expected)

    play(scenario)


def test_the_zygote_has_one_thread(play):
    async def scenario(node: Node) -> None:
        await node.client.ready.wait()
        assert len(os.listdir(f"/proc/{node.client.pid}/task")) == 1

    play(scenario)


def test_an_exception_in_a_child_is_printed_and_ends_it_with_1(play):
    async def scenario(node: Node) -> None:
        node.client.fork("a", entry("fails"))
        assert "ValueError: no luck" in await node.output("a", error=True)
        await node.until(lambda: node.statuses == {"a": 1})

    play(scenario)


def test_a_killed_child_is_reported_with_its_signal(play):
    async def scenario(node: Node) -> None:
        node.client.fork("a", entry("waits"))
        await node.line("a")
        node.client.kill(node.pids["a"])
        await node.until(lambda: node.statuses == {"a": -signal.SIGKILL})

    play(scenario)


def test_what_an_executor_started_dies_with_it_and_only_that(play):
    """Orphans of a living executor come to the zygote too, and must survive another's death."""

    async def scenario(node: Node) -> None:
        for name in "ab":
            node.client.fork(name, entry("starts_processes"))
        started = {name: [int(x) for x in (await node.line(name)).split()] for name in "ab"}
        node.client.kill(node.pids["a"])
        await node.until(lambda: "a" in node.statuses)
        assert await asyncio.to_thread(wait_until, lambda: not any(map(alive, started["a"])))
        assert all(map(alive, started["b"])) and node.statuses.keys() == {"a"}
        node.client.kill(node.pids["b"])
        assert await asyncio.to_thread(wait_until, lambda: not any(map(alive, started["b"])))

    play(scenario)


def test_spawn_runs_a_program_with_its_own_environment_and_directory(play, tmp_path):
    async def scenario(node: Node) -> None:
        command = ["sh", "-c", "echo $FRUIT; pwd; exit 3"]
        node.client.spawn("a", command, {"FRUIT": "pear"}, str(tmp_path))
        assert await node.output("a") == f"pear\n{tmp_path}\n"
        await node.until(lambda: node.statuses == {"a": 3})

    play(scenario)


def test_spawn_appends_both_outputs_to_a_file_and_passes_no_pipes(play, tmp_path):
    async def scenario(node: Node) -> None:
        log = tmp_path / "log"
        node.client.spawn("a", ["sh", "-c", "echo one; echo two >&2"], output=str(log))
        await node.until(lambda: node.statuses == {"a": 0})
        assert log.read_text() == "one\ntwo\n" and node.fds["a"] == (None, None)

    play(scenario)


@pytest.mark.parametrize(
    "request_", [{"command": ["/no/such/program"]}, {"command": ["true"], "output": "/no/such/log"}]
)
def test_what_cannot_be_started_exits_with_127(play, request_):
    async def scenario(node: Node) -> None:
        node.client.spawn("a", **request_)
        await node.until(lambda: node.statuses == {"a": 127})

    play(scenario)


def test_more_requests_than_the_socket_holds_are_all_served(play):
    """Before the zygote has its imports done nobody reads: the rest waits on our side."""

    async def scenario(node: Node) -> None:
        for i in range(20):
            node.client.fork(f"{i}", entry("both_outputs", text="x" * 100_000, status=i))
        for i in range(20):
            assert len(await node.output(f"{i}")) == 100_001
        await node.until(lambda: len(node.statuses) == 20)
        assert node.statuses == {f"{i}": i for i in range(20)}

    play(scenario)


def test_a_request_that_is_too_long_is_refused_at_once(play):
    async def scenario(node: Node) -> None:
        with pytest.raises(ValueError, match="too long"):
            node.client.fork("a", entry("waits", text="x" * 200_000))

    play(scenario)


def test_close_ends_everything_and_removes_the_directories(play, directories):
    async def scenario(node: Node) -> None:
        node.client.fork("a", entry("waits"))
        await node.line("a")

    node = play(scenario)
    assert not os.path.exists(directories.session_dir) and not os.path.exists(directories.shm_dir)
    with pytest.raises(ConnectionError):
        node.client.fork("b", entry("waits"))


def test_close_before_the_zygote_is_up_leaves_nothing(play, directories):
    async def scenario(node: Node) -> None:
        node.client.fork("a", entry("waits"))

    assert play(scenario).losses == 0
    assert not process_tree.end_session(directories.session_dir)


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM])
def test_a_dead_zygote_takes_all_with_it_and_is_replaced(play, directories, signal_number):
    """Even what an executor had started in a session of its own; the directories stay."""

    async def scenario(node: Node) -> None:
        node.client.fork("a", entry("starts_processes"))
        started = [int(x) for x in (await node.line("a")).split()]
        os.kill(node.client.pid, signal_number)
        await node.until(lambda: node.losses == 1)
        node.client.fork("b", entry("both_outputs", text="again", status=0))
        assert await node.output("b") == "again\n"
        assert not [pid for pid in [node.pids["a"], *started] if alive(pid)]
        assert os.path.exists(directories.session_dir)

    assert play(scenario).losses == 1


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGSTOP])
def test_a_node_that_ends_without_close_leaves_no_process_and_no_directory(tmp_path_factory, end):
    """SIGINT ends it as an exception does: with exit handlers, and threads before sockets.

    One that is stopped is ended by its zygote, to which it says nothing any more.
    """
    base = tmp_path_factory.mktemp("z")
    shm = base / "shm"
    command = [sys.executable, "-c", NODE.format(here=HERE), str(base), str(shm)]
    with subprocess.Popen(command, stdout=-1, stderr=-3, text=True) as node:
        pids = [int(node.stdout.readline()) for _ in range(4)]
        assert wait_until(lambda: len(process_tree.descendants(node.pid)) == 7)
        family = process_tree.descendants(node.pid)
        assert set(pids) < set(family) and len(list(base.glob("ray_on_dask-*/node"))) == 1
        node.send_signal(end)
    assert wait_until(lambda: not any(map(alive, family)))
    assert wait_until(lambda: not [*base.glob("*/node*"), *shm.glob("*/node*")])
