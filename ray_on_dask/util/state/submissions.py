"""Jobs: drivers' sessions, and those that were submitted."""

from __future__ import annotations

from dataclasses import asdict

from ray_on_dask.util.state import sources
from ray_on_dask.util.state.records import JobState


def jobs(timeout: float) -> list[JobState]:
    """All of them, drivers first."""
    return [*sources.jobs(timeout), *_submitted(timeout)]


def _submitted(timeout: float) -> list[JobState]:
    """Those that the actor knows that has them; none if there is no such actor."""
    from ray_on_dask.job_submission.client import JobSubmissionClient
    from ray_on_dask.job_submission.manager import NAME, NAMESPACE
    from ray_on_dask.util.state.listing import ask

    if not any(x["name"] == NAME for x in ask("named_actors", timeout, namespace=NAMESPACE)):
        return []
    return [
        JobState(
            job_id=job.job_id, submission_id=job.submission_id, entrypoint=job.entrypoint,
            type=job.type.value, status=job.status.value, message=job.message,
            error_type=job.error_type.value if job.error_type else None,
            driver_info=asdict(job.driver_info) if job.driver_info else None,
            start_time=job.start_time, end_time=job.end_time, metadata=job.metadata,
            runtime_env=job.runtime_env, driver_node_id=job.driver_node_id,
            driver_exit_code=job.driver_exit_code,
        )
        for job in JobSubmissionClient().list_jobs()
    ]  # fmt: skip
