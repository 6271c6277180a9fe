"""`JobSubmissionClient`: submit jobs, ask after them, read what they print, stop them."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import string
import urllib.request
from collections.abc import AsyncIterator
from typing import Any

import ray_on_dask as ray
from ray_on_dask.job_submission.manager import NAME, NAMESPACE, Manager
from ray_on_dask.job_submission.packing import pack
from ray_on_dask.job_submission.records import DriverInfo, JobDetails, JobInfo, JobStatus

#: Seconds between two looks for new output.
EVERY = 0.3
_REFUSED = ("pip", "conda", "uv", "container", "image_uri")


class JobSubmissionClient:
    """Runs programs on a cluster, each as a shell command in a process of its own.

    Jobs go on when their submitter is gone; what they print is kept, the last 16 MiB of each.
    Within a job `init()` joins the cluster.

    Parameters
    ----------
    address : str, optional
        As `init` takes it, or the dashboard's, ``http://host:8787``. Default: the session that
        there is, else ``RAY_ADDRESS``, else the cluster started last on this machine.
    create_cluster_if_needed : bool
        Start a local cluster if there is none; it ends with this process.
    cookies, metadata, headers, verify
        Accepted, of no effect: requests are no HTTP.

    Raises
    ------
    ConnectionError
        If there is no cluster at the address.

    Examples
    --------
    .. code-block:: python

        client = JobSubmissionClient()
        job = client.submit_job(entrypoint="python train.py", runtime_env={"working_dir": "."})
        print(client.get_job_status(job), client.get_job_logs(job))
    """

    def __init__(
        self,
        address: str | None = None,
        create_cluster_if_needed: bool = False,
        cookies: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
        headers: dict[str, Any] | None = None,
        verify: str | bool | None = True,
    ):
        if not ray.is_initialized():
            where = _cluster(address)
            try:
                ray.init(where, log_to_driver=False)
            except ConnectionError:
                if not create_cluster_if_needed:
                    raise
                ray.init("local", log_to_driver=False)
        self._manager: Any = None

    @property
    def manager(self) -> Any:
        """The actor that has the jobs, made when first needed."""
        if self._manager is None:
            self._manager = (
                ray.remote(Manager)
                .options(
                    name=NAME, namespace=NAMESPACE, lifetime="detached", get_if_exists=True,
                    num_cpus=0, max_concurrency=64,
                )
                .remote()
            )  # fmt: skip
        return self._manager

    def submit_job(
        self, *, entrypoint: str, job_id: str | None = None,
        runtime_env: dict[str, Any] | None = None, metadata: dict[str, str] | None = None,
        submission_id: str | None = None, entrypoint_num_cpus: float | None = None,
        entrypoint_num_gpus: float | None = None, entrypoint_memory: int | None = None,
        entrypoint_resources: dict[str, float] | None = None,
        entrypoint_label_selector: dict[str, str] | None = None,
    ) -> str:  # fmt: skip
        """Have a shell command run on the cluster; the job's id.

        Parameters
        ----------
        entrypoint : str
            The command.
        submission_id : str, optional
            An id of one's own, else one is made up.
        runtime_env : dict, optional
            ``env_vars``; ``working_dir``, a directory here, which is taken along (but for
            ``excludes``) and in which the command runs.
        metadata : dict of str to str, optional
            Kept with the job.
        entrypoint_num_cpus, entrypoint_num_gpus, entrypoint_memory, entrypoint_resources
            Held for the command while it runs. Default: none.

        Raises
        ------
        RuntimeError
            If there is a job with the id already.
        ValueError
            For a `runtime_env` that cannot be had.
        """
        if not isinstance(entrypoint, str) or not entrypoint.strip():
            raise ValueError(f"entrypoint={entrypoint!r}: a shell command is expected")
        if entrypoint_label_selector:
            raise ValueError("entrypoint_label_selector is not supported")
        for key, value in (metadata or {}).items():
            if not (isinstance(key, str) and isinstance(value, str)):
                raise TypeError(f"metadata={metadata!r}: a dict of str to str is expected")
        environment, packed, directory = _environment(runtime_env or {})
        id = submission_id or job_id or _new_id()
        info = JobInfo(
            JobStatus.PENDING, entrypoint, _waiting(entrypoint_num_cpus, entrypoint_resources),
            metadata=dict(metadata or {}), runtime_env=environment,
            entrypoint_num_cpus=entrypoint_num_cpus, entrypoint_num_gpus=entrypoint_num_gpus,
            entrypoint_memory=entrypoint_memory, entrypoint_resources=entrypoint_resources,
        )  # fmt: skip
        refusal = ray.get(self.manager.submit.remote(id, info, packed, directory))
        if refusal:
            raise RuntimeError(refusal)
        return id

    def get_job_status(self, job_id: str) -> JobStatus:
        """Where a job is in its life. `RuntimeError` if there is none such."""
        return self._info(job_id).status

    def get_job_info(self, job_id: str) -> JobDetails:
        """What is known of a job. `RuntimeError` if there is none such."""
        return self._details(job_id, self._info(job_id), _drivers())

    def get_job_logs(self, job_id: str) -> str:
        """What a job has printed, the last 16 MiB of it. `RuntimeError` if there is none such."""
        found = ray.get(self.manager.logs.remote(job_id))
        if found is None:
            raise RuntimeError(f"Job {job_id} does not exist")
        text: str = found[0].decode(errors="replace")
        return text

    async def tail_job_logs(self, job_id: str) -> AsyncIterator[str]:
        """What a job prints, from its beginning to its end, as it comes."""
        at = 0
        while True:
            ended = (await self.manager.info.remote(job_id) or self._info(job_id)).status
            data, at = await self.manager.logs.remote(job_id, at)
            if data:
                yield data.decode(errors="replace")
            elif ended.is_terminal():
                return
            await asyncio.sleep(EVERY)

    def stop_job(self, job_id: str) -> bool:
        """End a job: first asked, then by force; whether it was running.

        `RuntimeError` if there is none such.
        """
        running = ray.get(self.manager.stop.remote(job_id))
        if running is None:
            raise RuntimeError(f"Job {job_id} does not exist")
        return bool(running)

    def delete_job(self, job_id: str) -> bool:
        """Forget a job that has ended. `RuntimeError` if it has not, or there is none such."""
        refusal = ray.get(self.manager.delete.remote(job_id))
        if refusal:
            raise RuntimeError(refusal)
        return True

    def list_jobs(self) -> list[JobDetails]:
        """All jobs that were submitted and not deleted, the oldest first."""
        drivers = _drivers()
        found = ray.get(self.manager.all.remote())
        return [self._details(id, info, drivers) for id, info in found.items()]

    def get_address(self) -> str:
        """The scheduler's address."""
        return str(_ask("session")["scheduler_address"])

    def get_version(self) -> str:
        """The version of this package."""
        return ray.__version__

    def _info(self, job_id: str) -> JobInfo:
        info: JobInfo | None = ray.get(self.manager.info.remote(job_id))
        if info is None:
            raise RuntimeError(f"Job {job_id} does not exist")
        return info

    @staticmethod
    def _details(id: str, info: JobInfo, drivers: dict[str, DriverInfo]) -> JobDetails:
        driver = drivers.get(id)
        return JobDetails(
            **vars(info), submission_id=id, job_id=driver.id if driver else None, driver_info=driver
        )


def _ask(what: str) -> Any:
    from ray_on_dask.runtime import current

    return current.require().asking.ask(what)


def _drivers() -> dict[str, DriverInfo]:
    """The last driver of each job that has started one."""
    from ray_on_dask.ids import JobID

    ips = {node["name"]: node["ip"] for node in _ask("nodes")}
    return {
        x["submission"]: DriverInfo(JobID.from_int(x["job"]).hex(), ips[x["node"]], str(x["pid"]))
        for x in _ask("jobs")
        if x["submission"]
    }


def _cluster(address: str | None) -> str:
    """What `init` is to be given."""
    address = address or os.environ.get("RAY_ON_DASK_ADDRESS") or os.environ.get("RAY_ADDRESS")
    if not address:
        return "auto"
    if not address.startswith(("http://", "https://")):
        return address
    url = address.rstrip("/").removesuffix("/status") + "/ray/address"
    try:
        with urllib.request.urlopen(url, timeout=10) as reply:
            return str(json.load(reply)["scheduler"])
    except (OSError, ValueError, KeyError) as error:
        raise ConnectionError(
            f"No dashboard of a cluster with ray_on_dask answers at {address}: {error}"
        ) from error


def _environment(given: dict[str, Any]) -> tuple[dict[str, Any], bytes, str]:
    """The runtime environment, the packed working directory, the directory where to run."""
    for key in _REFUSED:
        if given.get(key):
            raise ValueError(
                f"runtime_env {key!r} is not supported: install packages where the Dask workers run"
            )
    variables = given.get("env_vars") or {}
    if not all(isinstance(x, str) for pair in variables.items() for x in pair):
        raise TypeError(f"runtime_env env_vars={variables!r}: a dict of str to str is expected")
    directory = given.get("working_dir")
    if not directory:
        return given, b"", ""
    if "://" in str(directory):
        raise ValueError(f"runtime_env working_dir={directory!r}: a directory of this machine is "
                         "expected")  # fmt: skip
    return given, pack(str(directory), given.get("excludes") or ()), ""


def _waiting(cpus: float | None, resources: dict[str, float] | None) -> str:
    text = "Job has not started yet."
    return text + " It may be waiting for resources." if cpus or resources else text


def _new_id() -> str:
    letters = string.ascii_letters + string.digits
    return "raysubmit_" + "".join(secrets.choice(letters) for _ in range(16))
