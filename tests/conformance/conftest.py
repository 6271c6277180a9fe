"""One cluster per test module, and files by which tasks and tests signal each other.

What a test sends to a worker is defined inside a function, so that it travels by value and the
worker need not be able to import the test.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import conformance_module as subject


@pytest.fixture(scope="session", name="ray")
def ray_module() -> Any:
    """The module under test."""
    return subject.ray


def start(**options: object) -> Any:
    """``init`` as all modules here want it: four CPUs, quiet, no dashboard."""
    defaults: dict[str, object] = {
        "num_cpus": 4,
        "include_dashboard": False,
        "log_to_driver": False,
    }
    return subject.ray.init(**(defaults | options))


@pytest.fixture(scope="module")
def cluster(request: pytest.FixtureRequest) -> Iterator[None]:
    """A cluster for the module's tests; the module's ``CLUSTER`` adds to its options."""
    start(**getattr(request.module, "CLUSTER", {}))
    yield
    subject.ray.shutdown()


@pytest.fixture
def start_cluster() -> Iterator[Callable[..., Any]]:
    """A function that starts a cluster of this one test's own."""
    subject.ray.shutdown()
    yield start
    subject.ray.shutdown()


def new_gate(path: str) -> Any:
    class Gate:
        """Shut until somebody opens it, in whatever process."""

        def __init__(self, path: str) -> None:
            self.path = path

        def open(self) -> None:
            with open(self.path, "w"):
                pass

        def wait(self) -> None:
            import os
            import time

            while not os.path.exists(self.path):
                time.sleep(0.01)

    return Gate(path)


def new_journal(path: str) -> Any:
    class Journal:
        """Words that processes write down, in the order in which they did."""

        def __init__(self, path: str) -> None:
            self.path = path

        def write(self, word: object) -> None:
            with open(self.path, "a") as file:
                file.write(f"{word}\n")

        def read(self) -> list[str]:
            with open(self.path) as file:
                return file.read().split()

    journal = Journal(path)
    with open(path, "w"):
        pass
    return journal


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Any]:
    """A gate that tasks may wait at; the end of the test opens it."""
    gate = new_gate(str(tmp_path / "gate"))
    yield gate
    gate.open()


@pytest.fixture
def journal(tmp_path: Path) -> Any:
    """An empty journal."""
    return new_journal(str(tmp_path / "journal"))
