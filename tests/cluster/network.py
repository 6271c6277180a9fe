"""Hosts of a network of their own, for tests: namespaces joined by a switch, made by the test run.

A host has its own network, `/dev/shm`, `/tmp` and host name; what runs on it shares nothing with
what runs on another but the files of this checkout. All of it ends with the test.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
WIRE = str(Path(__file__).with_name("slow_wire.py"))
HOLD = "mount -t tmpfs tmpfs /dev/shm && mount -t tmpfs tmpfs /tmp && ip link set lo up"


def why_not() -> str:
    """Why such hosts cannot be made here; "" if they can."""
    for tool in ("unshare", "nsenter", "ip"):
        if shutil.which(tool) is None:
            return f"there is no `{tool}` here"
    tried = subprocess.run(
        ["unshare", "--net", "--mount", "--uts", "sh", "-c",
         f"{HOLD} && ip link add rod-a type veth peer name rod-b"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return f"namespaces are not permitted here: {tried.stderr.strip()}" if tried.returncode else ""


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


class _Namespace:
    """A network, mount and host-name namespace, held by a process."""

    def __init__(self, name: str):
        self.name = name
        self.holder = subprocess.Popen(
            ["unshare", "--net", "--mount", "--uts", "sh", "-c",
             f"{HOLD} && hostname {name} && echo ready && exec sleep infinity"],
            stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        assert self.holder.stdout is not None
        assert self.holder.stdout.readline() == "ready\n"

    def inside(self, *command: str) -> list[str]:
        """The command that runs `command` there."""
        return ["nsenter", "-t", str(self.holder.pid), "-n", "-m", "-u", f"--wd={ROOT}", *command]

    def close(self) -> None:
        self.holder.kill()
        self.holder.wait()


def ended(process: subprocess.Popen[str], timeout: float = 60) -> str:
    """Wait for a program's end, a good one; the rest of what it prints."""
    try:
        out, err = process.communicate("\n", timeout=timeout)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)
        out, err = process.communicate()
        raise AssertionError(f"it did not end in {timeout} s:\n{out}\n{err[-8000:]}") from None
    assert process.returncode == 0, f"{out}\n{err[-8000:]}"
    sys.stderr.write(err)
    return out


def expect(process: subprocess.Popen[str], line: str) -> None:
    """Wait for a line of a program's."""
    assert process.stdout is not None
    found = process.stdout.readline()
    if found != f"{line}\n":
        process.send_signal(signal.SIGABRT)
        out, err = process.communicate()
        raise AssertionError(f"{found!r} came, not {line!r}:\n{out}\n{err[-8000:]}")


@dataclass
class Host:
    """One host."""

    name: str
    ip: str
    space: _Namespace
    #: Name of its network interface at the switch.
    port: str
    switch: _Namespace
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, *command: str, **environment: str) -> subprocess.Popen[str]:
        """Start a program there, in a session of its own."""
        env = {k: v for k, v in os.environ.items() if not k.startswith(("TMPDIR", "DASK_"))}
        env |= {"PYTHONPATH": str(ROOT), "PYTHONFAULTHANDLER": "1", **environment}
        process = subprocess.Popen(
            self.space.inside(*command), env=env,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            start_new_session=True,
        )  # fmt: skip
        self.processes.append(process)
        return process

    def python(self, *args: str, timeout: float = 60, **environment: str) -> str:
        """Run Python there to its end; what it printed."""
        return ended(self.start(sys.executable, *args, **environment), timeout)

    def link(self, up: bool) -> None:
        """Plug it in, or out."""
        _run(*self.switch.inside("ip", "link", "set", self.port, "up" if up else "down"))

    def delay(self, milliseconds: float) -> None:
        """Delay all that it sends: a slow wire comes between it and the switch."""
        near, far = f"{self.port}-near", f"{self.port}-far"
        for command in (
            f"link add {near} type veth peer name {far}", f"link set {far} master switch up",
            f"link set {near} up", f"link set {near} promisc on",
            f"link set {self.port} nomaster", f"link set {self.port} promisc on",
        ):  # fmt: skip
            _run(*self.switch.inside("ip", *command.split()))
        wire = subprocess.Popen(
            self.switch.inside(sys.executable, WIRE, self.port, near, str(milliseconds / 1000)),
            stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        self.processes.append(wire)
        assert wire.stdout is not None
        assert wire.stdout.readline() == "ready\n"

    def listens(self, port: int) -> bool:
        """Whether anything there takes connections at a port."""
        table = Path(f"/proc/{self.space.holder.pid}/net/tcp").read_text(encoding="ascii")
        rows = [line.split() for line in table.splitlines()[1:]]
        return any(row[1].endswith(f":{port:04X}") and row[3] == "0A" for row in rows)

    def listed(self, directory: str = "/dev/shm") -> list[str]:
        """Files below a directory there."""
        found = subprocess.run(
            self.space.inside("find", directory, "-type", "f"), capture_output=True, text=True,
            check=True,
        )  # fmt: skip
        return found.stdout.split()

    def close(self) -> None:
        for process in self.processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        self.space.close()


@contextlib.contextmanager
def network(count: int) -> Iterator[list[Host]]:
    """Several hosts, all joined to one switch."""
    switch = _Namespace("switch")
    hosts: list[Host] = []
    try:
        _run(*switch.inside("ip", "link", "add", "switch", "type", "bridge"))
        _run(*switch.inside("ip", "link", "set", "switch", "up"))
        for number in range(1, count + 1):
            space = _Namespace(f"host{number}")
            host = Host(space.name, f"10.77.0.{number}", space, f"port{number}", switch)
            hosts.append(host)
            _run(*switch.inside(
                "ip", "link", "add", host.port, "type", "veth", "peer", "name", "eth0",
                "netns", str(space.holder.pid),
            ))  # fmt: skip
            _run(*switch.inside("ip", "link", "set", host.port, "master", "switch", "up"))
            _run(*space.inside("ip", "addr", "add", f"{host.ip}/24", "dev", "eth0"))
            _run(*space.inside("ip", "link", "set", "eth0", "up"))
        yield hosts
    finally:
        for host in hosts:
            host.close()
        switch.close()


def certificates(ips: list[str]) -> dict[str, str]:
    """A certificate for these hosts that is its own authority; Dask's settings, as environment."""
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ray_on_dask test")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(True, None), True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(x)) for x in ips]),
            False,
        )
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()  # fmt: skip
    prefix = "DASK_DISTRIBUTED__COMM__TLS__"
    settings = {
        "DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "True", f"{prefix}CA_FILE": pem,
    }  # fmt: skip
    for role in ("SCHEDULER", "WORKER", "CLIENT"):
        settings[f"{prefix}{role}__CERT"] = pem
        settings[f"{prefix}{role}__KEY"] = secret
    return settings


@dataclass
class DaskCluster:
    """A scheduler on the first of the hosts, workers on some."""

    hosts: list[Host]
    address: str
    #: Settings of Dask's, certificates among them.
    environment: dict[str, str] = field(default_factory=dict)
    workers: dict[str, subprocess.Popen[str]] = field(default_factory=dict)

    @classmethod
    def start(
        cls, hosts: list[Host], workers: list[int], nthreads: int = 1, **environment: str
    ) -> DaskCluster:
        """Start them, and wait until the scheduler can be reached."""
        kind = "tls" if any("TLS" in name for name in environment) else "tcp"
        cluster = cls(hosts, f"{kind}://{hosts[0].ip}:8786", environment)
        hosts[0].start(
            sys.executable, "-m", "distributed.cli.dask_scheduler", "--host",
            f"{kind}://{hosts[0].ip}", "--port", "8786", "--no-dashboard", **environment,
        )  # fmt: skip
        for number in workers:
            cluster.add(number, nthreads)
        wait_until(lambda: hosts[0].listens(8786), 60, "the scheduler listens")
        return cluster

    def add(self, number: int, nthreads: int = 1, resources: str = "") -> subprocess.Popen[str]:
        """Start a worker on a host."""
        host = self.hosts[number]
        worker = host.start(
            sys.executable, "-m", "distributed.cli.dask_worker", self.address,
            "--host", f"{self.address[:3]}://{host.ip}",
            "--nthreads", str(nthreads), "--nworkers", "1", "--no-dashboard",
            "--resources", f"{host.name}=10 {resources}", **self.environment,
        )  # fmt: skip
        self.workers[host.name] = worker
        return worker

    def begin(self, number: int, *args: str) -> subprocess.Popen[str]:
        """Start a program as `program` does; `end` waits for it."""
        path, *rest = args
        return self.hosts[number].start(
            sys.executable, path, self.address, *rest, **self.environment
        )

    @staticmethod
    def end(program: subprocess.Popen[str], timeout: float = 60) -> str:
        """Let a program end (it gets a line on its stdin); the rest of what it prints."""
        return ended(program, timeout)

    def program(self, number: int, *args: str, **more: Any) -> str:
        """Run a program as a driver on a host, the scheduler's address first of its arguments."""
        path, *rest = args
        timeout = more.pop("timeout", 60)
        return self.hosts[number].python(
            path, self.address, *rest, timeout=timeout, **self.environment, **more
        )


def wait_until(condition: Any, limit: float, what: str) -> None:
    """Wait for a condition; an assertion fails when it does not come true in time."""
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, f"not within {limit} s: {what}"
        time.sleep(0.05)
