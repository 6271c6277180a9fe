"""What a driver prints: its workers' lines and the errors that nobody fetched."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from typing import Any

import pytest
from conformance_module import MODULE, eventually

SCRIPT = """
import sys
import {module} as ray

ray.init(num_cpus=2, include_dashboard=False, log_to_driver={log_to_driver})

@ray.remote
def speak():
    print("task says hello")
    print("task complains", file=sys.stderr)

@ray.remote
class Parrot:
    def __repr__(self):
        return "Polly"

    def speak(self):
        print("parrot says hello")

@ray.remote
class Plain:
    def speak(self):
        print("plain says hello")

@ray.remote
def fail():
    raise ValueError("nobody fetched this")

parrot, plain = Parrot.remote(), Plain.remote()
ray.get([speak.remote(), parrot.speak.remote(), plain.speak.remote()])
fail.remote()
print("driver is done", flush=True)
sys.stdin.read()
"""


class Driver:
    """A script in a process of its own, whose output is read while it runs."""

    def __init__(self, script: str) -> None:
        pipe: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-c", script], stderr=subprocess.STDOUT, text=True, **pipe
        )
        self.lines: list[str] = []
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(re.sub(r"\x1b\[\d+m", "", line))

    def has(self, pattern: str) -> bool:
        return re.search(pattern, "".join(self.lines)) is not None

    def end(self) -> int:
        """Let the script end; its exit status."""
        assert self.process.stdin
        self.process.stdin.close()
        status = self.process.wait(timeout=60)
        self.reader.join(timeout=10)
        return status


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that starts the script with `log_to_driver` as given."""
    monkeypatch.setenv("RAY_DEDUP_LOGS", "0")
    monkeypatch.setenv("RAY_COLOR_PREFIX", "0")
    drivers: list[Driver] = []

    def run(log_to_driver: bool) -> Driver:
        script = SCRIPT.format(module=MODULE, log_to_driver=log_to_driver)
        drivers.append(Driver(script))
        return drivers[-1]

    yield run
    for driver in drivers:
        driver.process.kill()
        driver.process.wait()


def test_lines_of_workers_reach_the_driver_with_name_and_pid(run: Any) -> None:
    driver = run(log_to_driver=True)
    for pattern in (
        r"\(speak pid=\d+.*\) task says hello",
        r"\(speak pid=\d+.*\) task complains",
        r"\(Polly pid=\d+.*\) parrot says hello",
        r"\(Plain pid=\d+.*\) plain says hello",
        r"nobody fetched this",
    ):
        eventually(lambda pattern=pattern: driver.has(pattern))
    assert driver.end() == 0


def test_workers_are_silent_where_asked(run: Any) -> None:
    driver = run(log_to_driver=False)
    eventually(lambda: driver.has("driver is done"))
    assert driver.end() == 0
    assert not driver.has("says hello")
