"""Who is another user of the machine, or does not know the password, gets nothing."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest

from .conftest import as_stranger, listening, needs_root, try_to_connect

pytestmark = pytest.mark.timeout(60)


def directories() -> list[Path]:
    """All directories of the session: on disk and in shared memory."""
    from ray_on_dask.runtime import current

    process = current.require()
    session = Path(process.hub_path).parent
    return [session, session.parent, Path(process.storing.directory)]


def test_all_files_and_directories_are_for_this_user_alone(ray: Any) -> None:
    import numpy as np

    @ray.remote
    def stored() -> Any:
        return np.ones(200_000)

    refs = [ray.put(np.ones(2_000_000)), stored.remote()]
    ray.wait(refs, num_returns=2, timeout=30.0)
    seen = 0
    for directory in directories():
        for path in (directory, *directory.rglob("*")):
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                continue
            seen += 1
            assert stat.S_IMODE(mode) & 0o077 == 0, f"{path}: {stat.filemode(mode)}"
            assert path.lstat().st_uid == os.geteuid()
    assert seen > 8


@needs_root
def test_a_stranger_reaches_no_socket_and_no_file(ray: Any) -> None:
    paths = listening()
    assert set(paths.values()) == {"hub", "executor"}
    for path in paths:
        assert as_stranger(lambda path=path: try_to_connect(path)) == 0

    places = directories()

    def look() -> int:
        for directory in places:
            try:
                os.listdir(directory)
            except PermissionError:
                continue
            return 1
        return 0

    assert as_stranger(look) == 0
    assert ray.get(ray.put(1)) == 1


@pytest.fixture
def open_folder() -> Any:
    """A folder that everybody may enter, so that only the socket's own check is left."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        os.chmod("/tmp", 0o1777)
        yield folder


@needs_root
def test_a_hub_closes_a_strangers_line_whatever_the_files_permissions(open_folder: str) -> None:
    from ray_on_dask.plugins.hub import start_hub

    class Node:
        said: list[Any] = []

        def on_message(self, line: Any, message: Any) -> None:
            self.said.append(message)

        def on_line_lost(self, line: Any) -> None: ...

    path = os.path.join(open_folder, "hub")

    async def main() -> None:
        server = await start_hub(Node(), path)  # type: ignore[arg-type]
        os.chmod(path, 0o666)
        loop = asyncio.get_running_loop()
        status = await loop.run_in_executor(None, as_stranger, lambda: try_to_connect(path))
        assert status == 0 and Node.said == []
        server.close()

    asyncio.run(main())


@needs_root
def test_an_executors_socket_closes_a_strangers_line_too(open_folder: str) -> None:
    from ray_on_dask.wire.channel import listen
    from ray_on_dask.wire.reactor import Reactor

    accepted: list[socket.socket] = []
    path = os.path.join(open_folder, "executor")
    reactor = Reactor(lambda now: None, lambda: -1)
    reactor.listen(listen(path), accepted.append)
    os.chmod(path, 0o666)
    reactor.start()
    try:
        assert as_stranger(lambda: try_to_connect(path)) == 0
        assert accepted == []
        with socket.socket(socket.AF_UNIX) as own:  # the check is not simply blind
            own.connect(path)
            end = threading.Event()
            for _ in range(200):
                if accepted or end.wait(0.01):
                    break
        assert len(accepted) == 1
        accepted[0].close()
    finally:
        reactor.close()


def test_redis_wants_its_password_and_listens_on_loopback_alone(ray: Any) -> None:
    import psutil
    import redis

    from ray_on_dask.runtime import current, process_tree

    about = current.require().asking.ask("redis")
    for _ in range(500):
        if about["ready"]:
            break
        threading.Event().wait(0.02)
        about = current.require().asking.ask("redis")
    url = about["urls"][0]
    with redis.Redis.from_url(url) as client:
        assert client.ping()
        options = client.connection_pool.connection_kwargs
    host, port, password = options["host"], options["port"], options["password"]
    assert host == "127.0.0.1" and len(password) >= 32
    for wrong in (None, "", password[:-1], "foobared"):
        refused = pytest.raises(redis.exceptions.AuthenticationError)
        with redis.Redis(host, port, password=wrong) as client, refused:
            client.ping()
    ours = set(process_tree.descendants(os.getpid()))  # the machine may have others
    servers = [x for x in psutil.process_iter(["cmdline"]) if x.pid in ours
               and "redis-server" in " ".join(x.info["cmdline"] or ())]  # fmt: skip
    assert servers
    for server in servers:
        assert password not in " ".join(server.info["cmdline"])
        assert {x.laddr.ip for x in server.net_connections() if x.status == "LISTEN"} == {
            "127.0.0.1"
        }


def test_a_local_cluster_listens_on_loopback_alone(ray: Any) -> None:
    import psutil

    from ray_on_dask.api import init

    head = psutil.Process(init._head.process.pid)
    family = [head, *head.children(recursive=True)]
    open_to = {
        connection.laddr.ip
        for process in family
        for connection in process.net_connections("inet")
        if connection.status == "LISTEN"
    }
    assert open_to == {"127.0.0.1"}


def listening_ports() -> list[int]:
    """TCP ports of this session's head: the scheduler's and the worker's."""
    from ray_on_dask.runtime import current

    addresses = [x["address"] for x in current.require().asking.ask("nodes")]
    addresses.append(current.require().asking.ask("session")["scheduler_address"])
    return [int(address.rpartition(":")[2]) for address in addresses]


def hangs_up(port: int) -> bool:
    """Whether a server closes a connection without a word; Dask's begin with a handshake."""
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        try:
            return sock.recv(1) == b""
        except ConnectionResetError:
            return True


@needs_root
def test_a_local_clusters_tcp_ports_are_for_this_user_alone(ray: Any) -> None:
    """Else any user of the machine could have a Dask scheduler run code as ours."""
    ports = listening_ports()
    assert len(ports) == 2
    for port in ports:
        assert not hangs_up(port)
        assert as_stranger(lambda port=port: int(not hangs_up(port))) == 0
    assert ray.get(ray.put(1)) == 1
