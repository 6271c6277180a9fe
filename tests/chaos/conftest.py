"""Sessions to be killed, in this process and in others."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from chaos_processes import Driver, Session


@pytest.fixture
def start_driver() -> Iterator[Callable[[str], Driver]]:
    """Start a driver with this program, which calls `ready(...)` once."""
    drivers: list[Driver] = []

    def start(body: str) -> Driver:
        drivers.append(Driver(body))
        return drivers[-1]

    yield start
    for driver in drivers:
        driver.end()


@pytest.fixture(scope="module")
def ray(ray_session: Callable[..., Any]) -> Any:
    """The module's session, with two CPUs."""
    return ray_session()


@pytest.fixture
def session(ray: Any) -> Session:
    """The processes of the module's session."""
    return Session.of_this_driver()
