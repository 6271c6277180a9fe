"""Objects of a node that leaves: in an orderly way, or with copies elsewhere when it is killed."""

import sys
import time

import numpy as np

import ray_on_dask as ray

address, leaving, other = sys.argv[1:]
ray.init(address)
while not {leaving, other} <= set(ray.cluster_resources()):
    time.sleep(0.05)


@ray.remote(num_cpus=0, max_retries=0)
def make(number):
    return np.arange(300_000) + number


@ray.remote(num_cpus=0)
def total(array):
    return int(array.sum())


def expected(number):
    return sum(range(300_000)) + 300_000 * number


def on(host):
    return {"resources": {host: 0.1}}


refs = [make.options(**on(leaving)).remote(i) for i in range(5)]
ray.wait(refs, num_returns=5)
if "copied" in sys.stdin.readline():
    copies = [total.options(**on(other)).remote(ref) for ref in refs]
    assert ray.get(copies, timeout=30) == [expected(i) for i in range(5)]
time.sleep(1.0)  # so that they are Dask keys
print("ready", flush=True)
sys.stdin.readline()
assert [int(ray.get(ref, timeout=60).sum()) for ref in refs] == [expected(i) for i in range(5)]
assert ray.get([total.options(**on(other)).remote(ref) for ref in refs], timeout=60) == [
    expected(i) for i in range(5)
]
print("done", flush=True)
ray.shutdown()
