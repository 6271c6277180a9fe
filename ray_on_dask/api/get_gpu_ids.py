"""`get_gpu_ids`: the GPUs of the running task."""

from __future__ import annotations

from ray_on_dask.api import session as sessions


def get_gpu_ids() -> list[int | str]:
    """Ids of the GPUs that the running task or actor has; [] in a driver, and without a demand.

    Numbers; where `CUDA_VISIBLE_DEVICES` names UUIDs, or GPUs are divided (MIG), those.
    """
    session = sessions.running_session()
    if session is None or session.kind != "executor":
        return []
    from ray_on_dask.runtime.job_environment import gpu_ids

    return list(gpu_ids())
