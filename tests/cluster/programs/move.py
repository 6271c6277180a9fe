"""Work that goes on while a host is lost: tasks on all nodes, and an actor that may restart."""

import socket
import sys
import time

import ray_on_dask as ray

address, host = sys.argv[1:]
ray.init(address)
while host not in ray.cluster_resources():
    time.sleep(0.05)


@ray.remote(scheduling_strategy="SPREAD", max_retries=3)
def work(number):
    time.sleep(0.2)
    return number, socket.gethostname()


@ray.remote(num_cpus=0, max_restarts=3, max_task_retries=3)
class Place:
    def where(self):
        return socket.gethostname()


strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
node = next(x["NodeID"] for x in ray.nodes() if x["NodeManagerHostname"] == host)
place = Place.options(scheduling_strategy=strategy(node, soft=True)).remote()
assert ray.get(place.where.remote(), timeout=30) == host
seen = {place for _, place in ray.get([work.remote(i) for i in range(30)], timeout=60)}
assert host in seen, seen
print("ready", flush=True)
sys.stdin.readline()
start = time.monotonic()
done = ray.get([work.remote(i) for i in range(30)], timeout=90)
assert [number for number, _ in done] == list(range(30))
assert ray.get(place.where.remote(), timeout=90) != host
print(f"moved {time.monotonic() - start:.1f}", flush=True)
ray.shutdown()
