"""`everywhere.py` on a cluster that is given to `init` as an object."""

import json

from distributed.deploy.subprocess import SubprocessCluster
from everywhere import work

import ray_on_dask as ray

if __name__ == "__main__":
    with SubprocessCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=40
    ) as cluster:
        ray.init(cluster)
        print(json.dumps(work(), sort_keys=True))
        ray.shutdown()
