"""The driver of `benchmarks.two_hosts`: calls to another host and arrays from and to it.

Runs under the interpreter of the module that it is told to use; prints one JSON line that says what
that is, and one for each row.
"""

import importlib
import json
import platform
import sys
import time

import numpy as np

module, address, far, seconds = sys.argv[1:]
ray = importlib.import_module(module)
ray.init(address)
while far not in ray.cluster_resources():
    time.sleep(0.05)
facts = {"version": ray.__version__, "python": platform.python_version()}
print(json.dumps({"module": facts}), flush=True)
ON = {"resources": {far: 0.001}}
ARRAY = 100_000_000


@ray.remote
def nothing(value=None):
    return value


@ray.remote
class Actor:
    """Answers."""

    def nothing(self, value=None):
        """Give back what was given."""
        return value


@ray.remote
def make():
    return np.zeros(ARRAY, np.uint8)


@ray.remote
def size(array):
    return array.nbytes


def rate(row, call, amount=1.0):
    """Repeat a call for as long as it takes to tell its rate."""
    call()
    done, start = 0, time.perf_counter()
    while done < 3 or time.perf_counter() - start < float(seconds):
        call()
        done += 1
    value = done * amount / (time.perf_counter() - start)
    print(json.dumps({"row": row, "value": value}), flush=True)


def fetch():
    """An array that is made there, read here."""
    ref = make.options(**ON).remote()
    ray.wait([ref], fetch_local=False)
    start = time.perf_counter()
    assert ray.get(ref).nbytes == ARRAY
    return time.perf_counter() - start


def push():
    """An array that is stored here, read there."""
    ref = ray.put(np.zeros(ARRAY, np.uint8))
    start = time.perf_counter()
    assert ray.get(size.options(**ON).remote(ref)) == ARRAY
    return time.perf_counter() - start


def bandwidth(row, once):
    """The mean of what the transfers alone take."""
    once()
    taken = [once() for _ in range(max(3, int(float(seconds) * 3)))]
    print(json.dumps({"row": row, "value": ARRAY * len(taken) / sum(taken) / 1e9}), flush=True)


actor = Actor.options(num_cpus=0, **ON).remote()
there = nothing.options(**ON)
rate("tasks, one at a time, per s", lambda: ray.get(there.remote()))
rate("tasks, batch of 1,000, per s", lambda: ray.get([there.remote() for _ in range(1000)]), 1000)
rate("actor calls, one at a time, per s", lambda: ray.get(actor.nothing.remote()))
rate(
    "actor calls, batch of 1,000, per s",
    lambda: ray.get([actor.nothing.remote() for _ in range(1000)]), 1000,
)  # fmt: skip
text = "x" * 10_000
rate("actor calls with 10 kB and back, per s", lambda: ray.get(actor.nothing.remote(text)))
bandwidth("100 MB array made there, get, GB/s", fetch)
bandwidth("100 MB array put here, read there, GB/s", push)
ray.shutdown()
