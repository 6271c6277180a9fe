"""Tasks that read much of one node run there, and elsewhere when there is no room."""

import socket
import sys
import time

import numpy as np

import ray_on_dask as ray

address, host = sys.argv[1:]
ray.init(address)
while host not in ray.cluster_resources():
    time.sleep(0.05)


@ray.remote(num_cpus=0)
def make(size):
    return np.ones(size)


@ray.remote
def where(*arrays):
    return socket.gethostname()


@ray.remote
def sleep():
    time.sleep(3)


there = {"resources": {host: 0.1}}
large = make.options(**there).remote(1_000_000)
ray.wait([large])
for _ in range(3):
    assert ray.get(where.remote(large), timeout=30) == host
small = make.options(**there).remote(1_000)
assert ray.get(where.remote(small), timeout=30) == socket.gethostname()
pending = make.options(**there).remote(1_000_000)  # not there yet when the task is made
assert ray.get(where.remote(pending), timeout=30) == host
# All CPUs of that node are taken: a preference is no condition.
busy = sleep.options(**there).remote()
time.sleep(1.0)
assert ray.get(where.remote(large), timeout=2.5) != host
ray.get(busy, timeout=30)
print("done", flush=True)
ray.shutdown()
