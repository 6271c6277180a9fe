"""A driver that has objects and an actor, and waits to be killed."""

import sys
import time

import numpy as np

import ray_on_dask as ray

ray.init(sys.argv[1])


@ray.remote(num_cpus=0)
class Holder:
    def hold(self, refs):
        self.refs = refs


holder = Holder.remote()
refs = [ray.put(np.ones(300_000)) for _ in range(3)]
ray.get(holder.hold.remote(refs), timeout=30)
print("ready", flush=True)
time.sleep(600)
