"""A store in real shared memory, checked and removed after each test."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator

import pytest

from ray_on_dask.objectstore.store import Store


@pytest.fixture
def directory() -> Iterator[str]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as path:
        yield path


@pytest.fixture
def make_store(directory: str) -> Iterator[Callable[..., Store]]:
    """`Store(...)` in the test's directory, with dull arguments where none are given."""
    stores: list[Store] = []

    def make(process: str = "p", capacity: int = 256 << 20, **options: object) -> Store:
        stores.append(Store(directory, process, "node", capacity, **options))  # type: ignore[arg-type]
        return stores[-1]

    yield make
    for store in stores:
        if not store.closed:
            store.validate()
        store.close(unlink=True)


@pytest.fixture
def store(make_store: Callable[..., Store]) -> Store:
    return make_store()


class Child:
    """Another Python process that runs `program`, with its lines of input and output."""

    def __init__(self, program: str, *args: str):
        command = [sys.executable, "-c", program, *args]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def start_child() -> Iterator[Callable[..., Child]]:
    children: list[Child] = []

    def start(program: str, *args: str) -> Child:
        children.append(Child(program, *args))
        return children[-1]

    yield start
    for child in children:
        child.kill()
