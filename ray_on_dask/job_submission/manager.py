"""The actor that knows all jobs of a cluster: it outlives those who submit them."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any

from ray_on_dask.job_submission.records import JobErrorType, JobInfo, JobStatus
from ray_on_dask.job_submission.supervisor import Supervisor

#: Where the actor is found.
NAME = NAMESPACE = "_ray_on_dask_jobs"
#: Bytes of output kept of one job, the last ones, and of all: jobs that have ended give, the oldest
#: first, but for their last `LAST` bytes. Jobs kept, the latest ended ones.
OUTPUT_MAX, ALL_MAX, LAST, JOBS_MAX = 16 << 20, 256 << 20, 64 << 10, 1_000
#: Seconds in which a command that is asked to end has done so.
STOP_TIME = 20.0


class _Output:
    """The last bytes that a job has printed."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.dropped = 0

    def append(self, data: bytes) -> None:
        self.data += data
        self.trim(OUTPUT_MAX)

    def trim(self, size: int) -> None:
        over = len(self.data) - size
        if over > 0:
            del self.data[:over]
            self.dropped += over


class Manager:
    """Starts jobs, each under a supervisor of its own, and keeps what is known of them."""

    def __init__(self) -> None:
        self._jobs: dict[str, JobInfo] = {}
        self._outputs: dict[str, _Output] = {}
        self._supervisors: dict[str, Any] = {}
        self._stopping: set[str] = set()
        self._lock = threading.RLock()

    def submit(self, id: str, info: JobInfo, packed: bytes, directory: str) -> str:
        """Start a job; "" or why not."""
        with self._lock:
            if id in self._jobs:
                return f"Job with submission_id {id} already exists. Please use a different one."
            self._jobs[id], self._outputs[id] = info, _Output()
            self._forget_oldest()
        watch = threading.Thread(target=self._run, args=(id, info, packed, directory), daemon=True)
        watch.start()
        return ""

    def _forget_oldest(self) -> None:
        ended = [id for id, info in self._jobs.items() if info.status.is_terminal()]
        for id in ended[: max(0, len(self._jobs) - JOBS_MAX)]:
            del self._jobs[id], self._outputs[id]

    def append(self, id: str, data: bytes) -> None:
        """A job has printed something."""
        with self._lock:
            if id in self._outputs:
                self._outputs[id].append(data)
                self._make_room()

    def _make_room(self) -> None:
        over = sum(len(output.data) for output in self._outputs.values()) - ALL_MAX
        for id, output in self._outputs.items() if over > 0 else ():
            if over > 0 and self._jobs[id].status.is_terminal():
                before = len(output.data)
                output.trim(LAST)
                over -= before - len(output.data)

    # -- one job, in a thread of its own ---------------------------------------------------

    def _run(self, id: str, info: JobInfo, packed: bytes, directory: str) -> None:
        import ray_on_dask as ray
        from ray_on_dask.exceptions import ActorUnschedulableError, RayError

        try:
            supervisor = self._supervise(id, info)
            if id not in self._stopping:  # from here on, `stop` kills the supervisor
                self._change(id, driver_node_id=ray.get(supervisor.where.remote()))
            if id in self._stopping:
                self._change(id, status=JobStatus.STOPPED, message="Job was intentionally stopped.",
                             end_time=_now())  # fmt: skip
                return
            self._change(id, status=JobStatus.RUNNING, message="Job is currently running.",
                         start_time=_now())  # fmt: skip
            env = {k: str(v) for k, v in info.runtime_env.get("env_vars", {}).items()}
            run = supervisor.run.remote(info.entrypoint, env, packed, directory)
            self._ended(id, ray.get(run))
        except ActorUnschedulableError as error:
            self._failed(id, str(error), JobErrorType.JOB_SUPERVISOR_ACTOR_UNSCHEDULABLE)
        except RayError as error:
            kind = JobErrorType.JOB_SUPERVISOR_ACTOR_DIED
            if isinstance(error, OSError):
                kind = JobErrorType.JOB_ENTRYPOINT_COMMAND_START_ERROR
            self._failed(id, str(error), kind)
        finally:
            with self._lock:
                gone = self._supervisors.pop(id, None)
            if gone is not None:
                ray.kill(gone)

    def _supervise(self, id: str, info: JobInfo) -> Any:
        import ray_on_dask as ray

        me = ray.get_runtime_context().current_actor
        options = {
            "num_cpus": info.entrypoint_num_cpus or 0, "num_gpus": info.entrypoint_num_gpus,
            "memory": info.entrypoint_memory, "resources": info.entrypoint_resources,
        }  # fmt: skip
        supervisor = (
            ray.remote(Supervisor)
            .options(
                **{name: value for name, value in options.items() if value is not None},
                lifetime="detached", max_concurrency=4,
            )
            .remote(id, me)
        )  # fmt: skip
        with self._lock:
            self._supervisors[id] = supervisor
        return supervisor

    def _ended(self, id: str, code: int) -> None:
        if id in self._stopping:
            self._change(id, status=JobStatus.STOPPED, message="Job was intentionally stopped.",
                         end_time=_now(), driver_exit_code=code)  # fmt: skip
        elif code == 0:
            self._change(id, status=JobStatus.SUCCEEDED, message="Job finished successfully.",
                         end_time=_now(), driver_exit_code=0)  # fmt: skip
        else:
            text = f"Job entrypoint command failed with exit code {code}"
            with self._lock:
                last = self._outputs[id].data[-2_000:].decode(errors="replace").strip()
            text += f", last available logs:\n{last}" if last else "."
            self._failed(id, text, JobErrorType.JOB_ENTRYPOINT_COMMAND_ERROR, code)

    def _failed(self, id: str, message: str, kind: JobErrorType, code: int | None = None) -> None:
        stopped = id in self._stopping
        self._change(
            id, status=JobStatus.STOPPED if stopped else JobStatus.FAILED, end_time=_now(),
            message="Job was intentionally stopped." if stopped else message,
            error_type=None if stopped else kind, driver_exit_code=code,
        )  # fmt: skip

    def _change(self, id: str, **facts: Any) -> None:
        with self._lock:
            if id in self._jobs:
                self._jobs[id] = replace(self._jobs[id], **facts)

    # -- questions and orders --------------------------------------------------------------

    def info(self, id: str) -> JobInfo | None:
        """What is known of a job, None of one that is not known."""
        with self._lock:
            return self._jobs.get(id)

    def all(self) -> dict[str, JobInfo]:
        """All jobs."""
        with self._lock:
            return dict(self._jobs)

    def logs(self, id: str, after: int = 0) -> tuple[bytes, int] | None:
        """What a job has printed from byte `after` on, and the number of the next byte."""
        with self._lock:
            output = self._outputs.get(id)
            if output is None:
                return None
            start = max(0, after - output.dropped)
            return bytes(output.data[start:]), output.dropped + len(output.data)

    def stop(self, id: str) -> bool | None:
        """End a job; whether it was running, None if there is none such."""
        import ray_on_dask as ray

        with self._lock:
            info, supervisor = self._jobs.get(id), self._supervisors.get(id)
            if info is None or info.status.is_terminal():
                return None if info is None else False
            self._stopping.add(id)
        if supervisor is None or info.status is JobStatus.PENDING:
            if supervisor is not None:  # it waits for resources
                ray.kill(supervisor)
            return True
        supervisor.stop.remote()
        deadline = time.monotonic() + STOP_TIME
        while not self._jobs[id].status.is_terminal() and time.monotonic() < deadline:
            time.sleep(0.02)
        return True

    def delete(self, id: str) -> str:
        """Forget a job that has ended; "" or why not."""
        with self._lock:
            info = self._jobs.get(id)
            if info is None:
                return f"Job {id} does not exist"
            if not info.status.is_terminal():
                return f"Job {id} is {info.status}: stop it before it is deleted"
            del self._jobs[id], self._outputs[id]
            return ""


def _now() -> int:
    return int(time.time() * 1000)
