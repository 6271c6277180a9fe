"""The page that says what an executor was running when it died."""

from __future__ import annotations

import os
import signal

import pytest

from ray_on_dask.runtime.status_page import SIZE, StatusPage

TASK, OTHER = b"a" * 16, b"b" * 15 + b"\0"


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "page")


def test_a_new_page_says_that_nothing_runs(path):
    page = StatusPage.create(path)
    assert page.running == StatusPage.read(path) == b"" and StatusPage.started(path) == 0
    assert os.stat(path).st_size == SIZE and os.stat(path).st_mode & 0o777 == 0o600


def test_the_running_task_can_be_read_by_others_until_it_ends(path):
    page = StatusPage.create(path)
    for task in (TASK, OTHER):
        page.running = task
        assert page.running == StatusPage.read(path) == task
    page.running = b""
    assert page.running == StatusPage.read(path) == b"" and StatusPage.started(path) == 2


def test_the_page_outlives_a_killed_process(path):
    pid = os.fork()
    if not pid:
        StatusPage.create(path).running = TASK
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert StatusPage.read(path) == TASK and StatusPage.started(path) == 1


def test_a_page_that_was_never_made_says_that_nothing_runs(path):
    assert StatusPage.read(path) == b"" and StatusPage.started(path) == 0


def test_two_executors_never_share_a_page(path):
    StatusPage.create(path)
    with pytest.raises(FileExistsError):
        StatusPage.create(path)
