"""Calls from this host to executors of two others: tasks, actors, generators, errors, cancels."""

import socket
import sys
import time

import ray_on_dask as ray

ray.init(sys.argv[1])
others = sys.argv[2:]
while not set(others) <= set(ray.cluster_resources()):
    time.sleep(0.05)
here = socket.gethostname()


@ray.remote
def where(*args):
    return socket.gethostname(), *args


@ray.remote
class Counter:
    def __init__(self, ref=None):
        self.count, self.host, self.ref = 0, socket.gethostname(), ref

    def add(self, number=1):
        self.count += number
        return self.count

    def ask(self, other):
        return ray.get(other.add.remote()), self.host

    def fail(self):
        raise KeyError("on purpose")


@ray.remote(num_returns="streaming")
def count(number):
    for i in range(number):
        yield i, socket.gethostname()


@ray.remote(max_retries=0)
def fail():
    raise ZeroDivisionError("on purpose")


@ray.remote
def sleep():
    time.sleep(60)


@ray.remote
def nested(refs):
    return sum(ray.get(refs))


@ray.remote
def loud():
    print("heard from afar", flush=True)


for host in others:
    on = {"resources": {host: 1}}
    many = [where.options(**on).remote(i) for i in range(500)]
    assert ray.get(many, timeout=30) == [(host, i) for i in range(500)]
    numbers = [ray.put(i) for i in range(10)]
    assert ray.get(nested.options(**on).remote(numbers), timeout=30) == 45
    assert ray.get(where.options(**on).remote(numbers[3]), timeout=30) == (host, 3)
    values = [ray.get(x, timeout=30) for x in count.options(**on).remote(20)]
    assert values == [(i, host) for i in range(20)]
    try:
        ray.get(fail.options(**on).remote(), timeout=30)
    except ZeroDivisionError as error:
        assert "on purpose" in str(error)
    else:
        raise AssertionError("no error came")
    slept = sleep.options(**on).remote()
    time.sleep(0.3)
    ray.cancel(slept)
    try:
        ray.get(slept, timeout=30)
    except ray.exceptions.TaskCancelledError:
        pass
    else:
        raise AssertionError("it was not cancelled")
    ray.get(loud.options(**on).remote(), timeout=30)

first, second = (Counter.options(resources={x: 1}, name=x).remote() for x in others)
calls = [first.add.remote() for _ in range(1000)]
assert ray.get(calls, timeout=30) == list(range(1, 1001))
# An actor of one host calls one of another, by a handle in its arguments.
assert ray.get(first.ask.remote(second), timeout=30) == (1, others[0])
assert ray.get(ray.get_actor(others[1]).add.remote(5), timeout=30) == 6
try:
    ray.get(second.fail.remote(), timeout=30)
except KeyError:
    pass
else:
    raise AssertionError("no error came")
ray.kill(second)
try:
    ray.get(second.add.remote(), timeout=30)
except ray.exceptions.RayActorError:
    pass
else:
    raise AssertionError("a dead actor has answered")
time.sleep(0.5)
print("done on", here)
ray.shutdown()
