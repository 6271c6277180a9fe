"""Jobs that are submitted: run, watched, stopped, and outliving who has submitted them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest

from ray_on_dask.job_submission import JobInfo, JobStatus, JobSubmissionClient
from ray_on_dask.job_submission.manager import Manager, _Output
from ray_on_dask.job_submission.packing import pack, unpack

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def client(ray_session: Callable[..., Any]) -> Iterator[JobSubmissionClient]:
    ray_session(num_cpus=2)
    yield JobSubmissionClient()


def until(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    deadline = monotonic() + seconds
    while not (found := condition()):
        assert monotonic() < deadline, "not in time"
        sleep(0.05)
    return found


def ended(client: JobSubmissionClient, job: str) -> JobStatus:
    return until(lambda: (s := client.get_job_status(job)).is_terminal() and s)


def test_a_program_joins_the_cluster_that_runs_it(
    client: JobSubmissionClient, tmp_path: Path
) -> None:
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "__init__.py").write_text("WORD = 'taken along'")
    (tmp_path / "left.txt").write_text("")
    (tmp_path / "program.py").write_text(
        "import os, part\n"
        "import ray_on_dask as ray\n"
        "ray.init()\n"
        "print(part.WORD, os.environ['WHO'], os.path.exists('left.txt'))\n"
        "print(ray.get(ray.remote(lambda: 42).remote()), len(ray.nodes()))\n"
    )
    environment = {"working_dir": str(tmp_path), "excludes": ["*.txt"], "env_vars": {"WHO": "me"}}
    job = client.submit_job(
        entrypoint="python program.py", runtime_env=environment, metadata={"a": "b"}
    )

    async def tail() -> str:
        return "".join([text async for text in client.tail_job_logs(job)])

    printed = asyncio.run(tail())
    assert "taken along me False\n42 1\n" in printed, printed
    info = client.get_job_info(job)
    assert (info.status, info.driver_exit_code) == (JobStatus.SUCCEEDED, 0)
    assert info.driver_info is not None and info.job_id == info.driver_info.id
    assert info.metadata == {"a": "b"} and info.end_time >= info.start_time
    assert client.get_job_logs(job) == printed
    from ray_on_dask.util import state

    found = state.get_job(job)
    assert found is not None and (found.status, found.type) == ("SUCCEEDED", "SUBMISSION")


def test_one_that_fails_says_how(client: JobSubmissionClient) -> None:
    job = client.submit_job(entrypoint="echo last words >&2; exit 3")
    assert ended(client, job) == "FAILED"
    info = client.get_job_info(job)
    assert "exit code 3" in info.message and "last words" in info.message
    assert info.driver_exit_code == 3


def test_jobs_are_stopped_while_they_run_and_while_they_wait(client: JobSubmissionClient) -> None:
    running = client.submit_job(
        entrypoint="trap 'echo bye; exit' TERM; echo up; while true; do sleep 0.05; done",
        submission_id="mine",
    )
    until(lambda: "up" in client.get_job_logs(running))
    with pytest.raises(RuntimeError, match="already exists"):
        client.submit_job(entrypoint="true", submission_id="mine")
    with pytest.raises(RuntimeError, match="is RUNNING"):
        client.delete_job("mine")
    assert client.stop_job(running) is True
    assert client.get_job_status(running) is JobStatus.STOPPED
    assert client.get_job_logs(running).endswith("bye\n")
    assert client.stop_job(running) is False
    waiting = client.submit_job(entrypoint="echo never", entrypoint_num_cpus=50)
    assert client.get_job_status(waiting) == "PENDING"
    assert client.stop_job(waiting)
    assert ended(client, waiting) == "STOPPED"
    assert client.delete_job(waiting) is True
    assert waiting not in [job.submission_id for job in client.list_jobs()]


def test_what_a_job_holds_is_held_while_it_runs(client: JobSubmissionClient) -> None:
    import ray_on_dask as ray

    job = client.submit_job(entrypoint="sleep 60", entrypoint_num_cpus=2)
    until(lambda: "CPU" not in ray.available_resources())
    client.stop_job(job)
    until(lambda: ray.available_resources().get("CPU") == 2)


def test_a_job_outlives_who_has_submitted_it(client: JobSubmissionClient, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    program = (
        "import sys\n"
        "from ray_on_dask.job_submission import JobSubmissionClient\n"
        "print(JobSubmissionClient(sys.argv[1]).submit_job(entrypoint=sys.argv[2]))\n"
    )
    command = f"while ! test -e {gate}; do sleep 0.05; done; echo went on"
    done = subprocess.run(
        [sys.executable, "-c", program, client.get_address(), command],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    job = done.stdout.split()[-1]
    until(lambda: client.get_job_status(job) == "RUNNING")
    gate.write_text("")
    assert ended(client, job) == "SUCCEEDED"
    assert client.get_job_logs(job) == "went on\n"


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"entrypoint": ""}, "a shell command"),
        ({"entrypoint": "x", "runtime_env": {"pip": ["y"]}}, "'pip' is not supported"),
        ({"entrypoint": "x", "runtime_env": {"working_dir": "/nowhere"}}, "neither a directory"),
        ({"entrypoint": "x", "runtime_env": {"working_dir": "s3://a"}}, "of this machine"),
        ({"entrypoint": "x", "runtime_env": {"env_vars": {"A": 1}}}, "str to str"),
        ({"entrypoint": "x", "metadata": {"a": 1}}, "str to str"),
    ],
)
def test_mistakes_are_named(client: JobSubmissionClient, given: dict[str, Any], text: str) -> None:
    with pytest.raises((ValueError, TypeError), match=text):
        client.submit_job(**given)


def test_unknown_jobs_are_an_error(client: JobSubmissionClient) -> None:
    for ask in (client.get_job_status, client.get_job_info, client.get_job_logs, client.stop_job,
                client.delete_job):  # fmt: skip
        with pytest.raises(RuntimeError, match="does not exist"):
            ask("none")


def test_packed_directories_come_out_as_they_were(tmp_path: Path) -> None:
    (tmp_path / "in" / "sub" / "__pycache__").mkdir(parents=True)
    (tmp_path / "in" / "sub" / "__pycache__" / "x.pyc").write_text("")
    script = tmp_path / "in" / "sub" / "run.sh"
    script.write_text("#!/bin/sh")
    script.chmod(0o755)
    unpack(pack(str(tmp_path / "in")), str(tmp_path / "out"))
    found = sorted(
        x.relative_to(tmp_path / "out").as_posix() for x in (tmp_path / "out").rglob("*")
    )
    assert found == ["sub", "sub/run.sh"]
    assert (tmp_path / "out" / "sub" / "run.sh").stat().st_mode & 0o111


def test_output_of_all_jobs_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ended jobs give, the oldest first, but for their last words."""
    monkeypatch.setattr("ray_on_dask.job_submission.manager.ALL_MAX", 30)
    monkeypatch.setattr("ray_on_dask.job_submission.manager.LAST", 2)
    manager = Manager()
    for id, status in (
        ("a", JobStatus.SUCCEEDED),
        ("b", JobStatus.RUNNING),
        ("c", JobStatus.FAILED),
    ):
        manager._jobs[id], manager._outputs[id] = JobInfo(status, "x"), _Output()
        manager.append(id, b"0123456789")
    manager.append("b", b"more")
    assert manager.logs("a") == (b"89", 10)
    assert manager.logs("b") == (b"0123456789more", 14)
    assert manager.logs("c") == (b"0123456789", 10)


def test_output_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray_on_dask.job_submission.manager.OUTPUT_MAX", 10)
    output = _Output()
    for _ in range(5):
        output.append(b"abcd")
    assert (bytes(output.data), output.dropped) == (b"cdabcdabcd", 10)
