"""Sessions for tests, and the checks that every test passes through: state valid, nothing left.

Session directories of a test run lie in a temporary directory of its own, so that what a test
leaves behind is told from what other users of the machine have.
"""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
import pytest_timeout

#: Seconds in which all that a session had must be gone after its end.
LIMIT = 20.0
SHARED_MEMORY = Path(f"/dev/shm/ray_on_dask-{os.geteuid()}")
#: Descriptors that sessions open; other libraries keep files and pipes of theirs.
OURS = ("socket:", "anon_inode:[eventpoll]", "anon_inode:[eventfd]", "/dev/shm/ray_on_dask")
SESSION = b"RAY_ON_DASK_SESSION="
#: How often a test of real processes is tried again.
RERUNS = int(os.environ.get("RERUNS", "1"))
#: Folders and files whose tests start no process.
DECISIONS = (
    "core", "wire", "references/test_references_machine.py", "test_style.py", "test_config.py",
)  # fmt: skip

FAILED = pytest.StashKey[bool]()

_tmpdir: str | None = None


def pytest_configure() -> None:
    global _tmpdir
    _tmpdir = tempfile.mkdtemp(prefix="rod-", dir="/tmp")
    os.environ["TMPDIR"] = tempfile.tempdir = _tmpdir


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of decisions alone get one try, those of real processes a second.

    They have limits of time, and machines that are shared have moments. What fails once and then
    passes is shown as an R, and counted.
    """
    for item in items:
        if not str(item.path.relative_to(Path(__file__).parent)).startswith(DECISIONS):
            item.add_marker(pytest.mark.flaky(reruns=RERUNS, reruns_delay=1))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A second try has the first one's limit of time: the timer ends with the first failure."""
    if getattr(item, "execution_count", 1) > 1:
        settings = pytest_timeout._get_item_settings(item)
        if settings.timeout:
            item.config.hook.pytest_timeout_set_timer(item=item, settings=settings)


def pytest_unconfigure() -> None:
    if _tmpdir is not None:
        del os.environ["TMPDIR"]
        tempfile.tempdir = None
        shutil.rmtree(_tmpdir, ignore_errors=True)


# -- sessions -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def ray_session() -> Iterator[Callable[..., Any]]:
    """A function that starts a session, quiet and with two CPUs unless told otherwise.

    It gives the module; a session that is there already ends first, and the last with the tests.
    """
    import ray_on_dask as ray

    def start(**options: Any) -> Any:
        end()
        quiet = {"num_cpus": 2, "include_dashboard": False, "log_to_driver": False}
        ray.init(**(quiet | options))
        return ray

    def end() -> None:
        validate_driver()
        ray.shutdown()

    yield start
    end()


def validate_driver() -> None:
    """Assert that the state of this process's session, if it has one, is consistent."""
    current = sys.modules.get("ray_on_dask.runtime.current")
    if current is not None and current.process is not None:
        current.process.validate()


def has_session() -> bool:
    current = sys.modules.get("ray_on_dask.runtime.current")
    return current is not None and current.process is not None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report: Any = yield
    if report.when == "call":
        item.stash[FAILED] = report.failed
    return report


@pytest.fixture(autouse=True)
def valid_driver(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each test, the state of the driver is consistent.

    A session that a test has begun and not ended, since it failed, would be in the way of others.
    """
    there = has_session()
    yield
    if request.node.stash.get(FAILED, False) and not there and has_session():
        import ray_on_dask as ray

        ray.shutdown()
    validate_driver()


# -- leaks ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Footprint:
    """What sessions have of this machine."""

    processes: dict[int, str]
    directories: set[str]
    descriptors: dict[int, str]

    @classmethod
    def now(cls) -> Footprint:
        """What is there at this moment."""
        return cls(
            {pid: command(pid) for pid in {*descendants(os.getpid()), *of_sessions()}},
            {*session_directories(), *dead_shared_memory()}, dict(descriptors()),
        )  # fmt: skip

    def more_than(self, before: Footprint) -> str:
        """In words, what is there that was not before; "" if there is nothing."""
        found = [
            f"process {pid}: {text}" for pid, text in self.processes.items()
            if pid not in before.processes
        ]  # fmt: skip
        found += [
            f"directory {path}: {', '.join(files(path))}"
            for path in sorted(self.directories - before.directories)
        ]  # fmt: skip
        found += [
            f"descriptor {fd}: {target}" for fd, target in self.descriptors.items()
            if before.descriptors.get(fd) != target
        ]  # fmt: skip
        return "\n".join(found)


def of_sessions() -> Iterator[int]:
    """Living processes of sessions of this test run, whoever their parents are by now."""
    mark = SESSION + os.fsencode(tempfile.gettempdir())
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/environ", "rb") as file:
                if mark in file.read():
                    yield int(entry)


def descendants(pid: int) -> list[int]:
    """Children of a process, and theirs; those that are dead and not reaped are not counted."""
    from ray_on_dask.runtime import process_tree

    return [pid for pid in process_tree.descendants(pid) if command(pid)]


def command(pid: int) -> str:
    """The command line of a process; "" if it is gone, or a zombie."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read().replace(b"\0", b" ").decode(errors="replace").strip()[:200]
    return ""


def session_directories() -> Iterator[str]:
    for root in Path(tempfile.gettempdir()).glob("ray_on_dask-*"):
        yield from map(str, root.iterdir())


def files(directory: str) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in Path(directory).rglob("*"))


def dead_shared_memory() -> Iterator[str]:
    """Directories in shared memory whose node is dead (those of other people's live)."""
    import fcntl

    for directory in SHARED_MEMORY.iterdir() if SHARED_MEMORY.exists() else ():
        with contextlib.suppress(OSError), open(directory / "lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield str(directory)


def descriptors() -> Iterator[tuple[int, str]]:
    for entry in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            target = os.readlink(f"/proc/self/fd/{entry}")
            if target.startswith(OURS):
                yield int(entry), target


@pytest.fixture(scope="module", autouse=True)
def no_leaks() -> Iterator[None]:
    """When a module that started sessions is done, the machine is as it was before."""
    before = Footprint.now()
    yield
    if "ray_on_dask.api.init" not in sys.modules or "ray_on_dask.runtime.driver" not in sys.modules:
        return
    end = monotonic() + LIMIT
    while left := Footprint.now().more_than(before):
        if monotonic() > end:
            pytest.fail(f"{LIMIT:g} s after the last session there are still:\n{left}")
        gc.collect()  # a socket that only a cycle of a test's own has is not left behind
        sleep(0.05)
