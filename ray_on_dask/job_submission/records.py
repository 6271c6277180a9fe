"""What is known of a job."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any


class JobStatus(str, Enum):
    """Where a job is in its life."""

    #: Not started: it waits for its resources.
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    #: Ended by `stop_job`.
    STOPPED = "STOPPED"
    #: Its command has ended with exit code 0.
    SUCCEEDED = "SUCCEEDED"
    #: Its command has ended with another code, or could not be run.
    FAILED = "FAILED"

    def __str__(self) -> str:
        return self.value

    def is_terminal(self) -> bool:
        """Whether it stays so."""
        return self in (JobStatus.STOPPED, JobStatus.SUCCEEDED, JobStatus.FAILED)


class JobType(str, Enum):
    """How a job came about."""

    #: By `submit_job`.
    SUBMISSION = "SUBMISSION"
    #: By a program that has called `init`.
    DRIVER = "DRIVER"


class JobErrorType(str, Enum):
    """Why a job has failed."""

    JOB_ENTRYPOINT_COMMAND_ERROR = "JOB_ENTRYPOINT_COMMAND_ERROR"
    JOB_ENTRYPOINT_COMMAND_START_ERROR = "JOB_ENTRYPOINT_COMMAND_START_ERROR"
    JOB_SUPERVISOR_ACTOR_DIED = "JOB_SUPERVISOR_ACTOR_DIED"
    JOB_SUPERVISOR_ACTOR_UNSCHEDULABLE = "JOB_SUPERVISOR_ACTOR_UNSCHEDULABLE"


@dataclass
class DriverInfo:
    """The last driver that a job has started."""

    #: The job's id within the cluster, 8 hex digits.
    id: str
    node_ip_address: str
    pid: str


@dataclass
class JobInfo:
    """What is known of a submitted job; times are milliseconds since 1970."""

    status: JobStatus
    #: The shell command.
    entrypoint: str
    #: The status in words.
    message: str = ""
    error_type: JobErrorType | None = None
    start_time: int | None = None
    end_time: int | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    runtime_env: dict[str, Any] = field(default_factory=dict)
    driver_node_id: str | None = None
    driver_exit_code: int | None = None
    entrypoint_num_cpus: float | None = None
    entrypoint_num_gpus: float | None = None
    entrypoint_memory: int | None = None
    entrypoint_resources: dict[str, float] | None = None


@dataclass
class JobDetails(JobInfo):
    """The same with its names."""

    type: JobType = JobType.SUBMISSION
    #: Of the last driver that it has started, None if there was none.
    job_id: str | None = None
    submission_id: str | None = None
    driver_info: DriverInfo | None = None
    driver_agent_http_address: str | None = None

    def dict(self) -> dict[str, Any]:
        """As plain data."""
        found = asdict(self)
        return {key: x.value if isinstance(x, Enum) else x for key, x in found.items()}
