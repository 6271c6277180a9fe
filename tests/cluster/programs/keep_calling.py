"""Call a task and an actor of another host for as long as the test says; nothing may get lost."""

import sys
import threading
import time

import ray_on_dask as ray

address, host = sys.argv[1:]
ray.init(address)
while host not in ray.cluster_resources():
    time.sleep(0.05)


@ray.remote(resources={host: 1})
def square(number):
    return number * number


@ray.remote(num_cpus=0, resources={host: 1})
class Counter:
    def __init__(self):
        self.count = 0

    def add(self):
        self.count += 1
        return self.count


counter = Counter.remote()
assert ray.get([counter.add.remote(), square.remote(3)], timeout=30) == [1, 9]
print("ready", flush=True)
stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.readline(), stop.set()), daemon=True).start()
longest, number, counted = 0.0, 0, 1
while not stop.is_set():
    start = time.monotonic()
    batch = [square.remote(i) for i in range(number, number + 20)]
    calls = [counter.add.remote() for _ in range(20)]
    assert ray.get(batch, timeout=60) == [i * i for i in range(number, number + 20)]
    assert ray.get(calls, timeout=60) == list(range(counted + 1, counted + 21))
    number += 20
    counted += 20
    longest = max(longest, time.monotonic() - start)
print(f"done {number} {longest:.1f}", flush=True)
ray.shutdown()
