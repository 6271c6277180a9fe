"""Jobs: programs that run on the cluster, whoever started them being gone or not.

>>> from ray_on_dask.job_submission import JobStatus
>>> JobStatus("SUCCEEDED").is_terminal()
True
"""

from ray_on_dask.job_submission.client import JobSubmissionClient
from ray_on_dask.job_submission.records import (
    DriverInfo,
    JobDetails,
    JobErrorType,
    JobInfo,
    JobStatus,
    JobType,
)

__all__ = [
    "DriverInfo", "JobDetails", "JobErrorType", "JobInfo", "JobStatus", "JobSubmissionClient",
    "JobType",
]  # fmt: skip
