"""`kill -9` on each kind of process: nothing stays behind, and what can go on does."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys

import pytest
from chaos_processes import Session, kill, living, until

pytestmark = pytest.mark.chaos

BUSY = """
@ray.remote
def child():
    time.sleep(100)

@ray.remote
def task():
    import subprocess
    import numpy as np
    big = ray.put(np.zeros(1 << 20))
    process = subprocess.Popen(["sleep", "100"])
    open(sys_path, "w").close()
    return ray.get(child.remote())

import numpy as np
array = ray.put(np.zeros(1 << 20))
sys_path = os.environ["STARTED"]
ref = task.remote()
while not os.path.exists(sys_path):
    time.sleep(0.01)
ready()
time.sleep(100)
"""


@pytest.fixture
def busy(start_driver, tmp_path, monkeypatch):
    """A driver with stored objects whose nested tasks have started processes."""
    monkeypatch.setenv("STARTED", str(tmp_path / "started"))
    driver = start_driver(BUSY)
    # Head, zygote, two executors at least, and `sleep`.
    until(lambda: len(driver.session.processes) >= 5, "a busy session")
    return driver


def test_a_killed_driver_takes_its_session_with_it(busy):
    processes = busy.session.processes
    busy.kill()
    busy.session.assert_gone(processes)


def test_a_driver_that_is_terminated_takes_its_session_with_it(busy):
    processes = busy.session.processes
    busy.process.send_signal(signal.SIGTERM)
    busy.session.assert_gone(processes)


def test_a_killed_head_takes_its_processes_with_it(busy):
    processes = busy.session.processes
    kill(busy.session.head)
    busy.session.assert_gone(processes)


def test_a_killed_zygote_takes_its_executors_with_it(busy):
    executors = busy.session.executors
    kill(busy.session.zygote)
    until(lambda: not living(executors), "the end of executors")


def test_a_head_and_a_driver_that_are_killed_at_once_leave_nothing(busy):
    processes = busy.session.processes
    kill(busy.session.head)
    busy.kill()
    busy.session.assert_gone(processes)


def test_a_frozen_driver_that_is_killed_leaves_nothing(busy):
    processes = busy.session.processes
    busy.process.send_signal(signal.SIGSTOP)
    busy.kill()
    busy.session.assert_gone(processes)


def test_blocked_calls_of_a_driver_whose_head_dies_end_with_an_error(start_driver):
    driver = start_driver(
        """
@ray.remote
def task():
    time.sleep(100)

ref = task.remote()
ready()
try:
    ray.get(ref)
except Exception as error:
    print(type(error).__name__, flush=True)
for call in (lambda: ray.put(1), lambda: task.remote(), lambda: ray.get(ref)):
    try:
        call()
    except Exception as error:
        print("refused", flush=True)
ray.shutdown()
print("end", flush=True)
"""
    )
    kill(driver.session.head)
    out, _ = driver.process.communicate(timeout=20)
    lines = out.split()
    assert lines and lines[0] in ("LocalRayletDiedError", "RaySystemError", "OwnerDiedError")
    assert lines[-1] == "end"


# -- executors ------------------------------------------------------------------------------


def test_a_task_whose_executor_is_killed_is_tried_again(ray, tmp_path):
    @ray.remote(max_retries=1)
    def dies_once(path):
        if not os.path.exists(path):
            open(path, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return os.getpid()

    assert ray.get(dies_once.remote(str(tmp_path / "once")), timeout=20) != os.getpid()


def test_a_task_that_crashes_too_often_says_so_and_the_next_ones_run(ray):
    @ray.remote(max_retries=2)
    def crash(path):
        with open(path, "a") as file:
            file.write("x")
        os.kill(os.getpid(), signal.SIGSEGV)

    @ray.remote
    def fine():
        return 1

    import tempfile

    path = tempfile.mktemp()
    with pytest.raises(ray.exceptions.WorkerCrashedError, match=r"crash|SIGSEGV"):
        ray.get(crash.remote(path), timeout=20)
    with open(path) as file:
        assert file.read() == "xxx"
    assert ray.get([fine.remote() for _ in range(100)], timeout=20) == [1] * 100


def test_a_crash_is_charged_to_the_task_that_ran_and_not_to_those_behind_it(ray):
    """Hundreds of short tasks are aboard the executor, none of which may be tried again."""

    @ray.remote(max_retries=0)
    def task(dies):
        if dies:
            os.kill(os.getpid(), signal.SIGKILL)

    ray.get([task.remote(False) for _ in range(500)])
    refs = [task.remote(number == 20) for number in range(400)]
    ready, rest = ray.wait(refs, num_returns=len(refs), timeout=20.0)
    assert not rest
    failed = []
    for number, ref in enumerate(ready):
        try:
            ray.get(ref)
        except ray.exceptions.WorkerCrashedError:
            failed.append(number)
    assert failed == [20]


def test_an_executor_that_is_killed_from_outside_in_mid_task_is_replaced(ray, session, tmp_path):
    @ray.remote(max_retries=3)
    def wait(path, started):
        with open(started, "a") as file:
            file.write(f"{os.getpid()} ")
        while not os.path.exists(path):
            pass
        return "done"

    gate, started = str(tmp_path / "gate"), tmp_path / "started"
    ref = wait.remote(gate, str(started))
    for attempt in (1, 2):
        pids = until(
            lambda attempt=attempt: (
                len(found := started.read_text().split()) == attempt and found
                if started.exists()
                else None
            ),
            f"attempt {attempt}",
        )
        kill(int(pids[-1]))
    open(gate, "w").close()
    assert ray.get(ref, timeout=20) == "done"


def test_what_a_task_has_started_dies_with_its_executor(ray, tmp_path):
    @ray.remote(max_retries=0)
    def start(path):
        process = subprocess.Popen(["sleep", "100"])
        with open(path, "w") as file:
            file.write(str(process.pid))
        os.kill(os.getpid(), signal.SIGKILL)

    path = tmp_path / "pid"
    with pytest.raises(ray.exceptions.WorkerCrashedError):
        ray.get(start.remote(str(path)), timeout=20)
    until(lambda: not living([int(path.read_text())]), "the end of the task's child")


def test_a_task_that_exits_is_a_crash_and_not_a_hang(ray):
    @ray.remote(max_retries=0)
    def leave(code):
        sys.exit(code)

    @ray.remote(max_retries=0)
    def leave_now():
        os._exit(3)

    for ref in (leave.remote(0), leave.remote(1), leave_now.remote()):
        with pytest.raises(ray.exceptions.WorkerCrashedError):
            ray.get(ref, timeout=20)


def test_resources_of_crashed_tasks_come_back(ray):
    @ray.remote(max_retries=0, num_cpus=2)
    def crash():
        os.kill(os.getpid(), signal.SIGKILL)

    refs = [crash.remote() for _ in range(3)]
    for ref in refs:
        with pytest.raises(ray.exceptions.WorkerCrashedError):
            ray.get(ref, timeout=20)
    until(lambda: ray.available_resources().get("CPU") == 2, "both CPUs are free")


def test_the_session_goes_on_when_its_zygote_is_killed(ray_session):
    """Executors die with it; a new one is started, or every call says what has happened."""
    ray = ray_session()
    session = Session.of_this_driver()

    @ray.remote(max_retries=5)
    def task():
        return 1

    assert ray.get(task.remote(), timeout=20) == 1
    kill(session.zygote)
    with contextlib.suppress(ray.exceptions.WorkerCrashedError, ray.exceptions.RaySystemError):
        assert ray.get(task.remote(), timeout=20) == 1
