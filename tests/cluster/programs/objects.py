"""Stored objects go between this host and two others, in every way, and are all freed."""

import gc
import sys
import time

import numpy as np

import ray_on_dask as ray

ray.init(sys.argv[1])
one, two = sys.argv[2:]
while not {one, two} <= set(ray.cluster_resources()):
    time.sleep(0.05)
SIZE = 2_000_000  # eight-byte numbers


@ray.remote
def make(number, size=SIZE):
    return np.arange(size) + number


@ray.remote
def total(array):
    assert not array.flags.writeable
    return int(array[:1000].sum())


@ray.remote
def nested(refs):
    return [total_of(x) for x in ray.get(refs)]


def total_of(array):
    return int(array[:1000].sum())


@ray.remote
def put_there(number):
    return ray.put(np.arange(SIZE) + number)


@ray.remote(num_returns="streaming")
def stream(count):
    for i in range(count):
        yield np.arange(200_000) + i


@ray.remote
class Keeper:
    def __init__(self, array=None, refs=()):
        self.array, self.refs = array, list(refs)

    def total(self):
        return total_of(self.array)

    def keep(self, refs):
        self.refs += refs

    def give(self):
        return self.refs

    def sums(self):
        return [total_of(x) for x in ray.get(self.refs)]

    def forget(self):
        self.refs = []


def expected(number):
    return sum(range(1000)) + 1000 * number


def on(host):
    return {"num_cpus": 0, "resources": {host: 1}}


# A result made there is read here; one made here is read there; one of there on a third host.
theirs = make.options(**on(one)).remote(1)
assert total_of(ray.get(theirs, timeout=30)) == expected(1)
mine = ray.put(np.arange(SIZE) + 2)
sums = [total.options(**on(host)).remote(mine) for host in (one, two) for _ in range(5)]
assert ray.get(sums, timeout=30) == [expected(2)] * 10
assert ray.get(total.options(**on(two)).remote(theirs), timeout=30) == expected(1)
# Refs within values, to objects of all three.
far = ray.get(put_there.options(**on(two)).remote(3), timeout=30)
assert ray.get(nested.options(**on(one)).remote([mine, theirs, far]), timeout=30) == [
    expected(2), expected(1), expected(3),
]  # fmt: skip
assert total_of(ray.get(far, timeout=30)) == expected(3)
# Many at once, with the same dependency.
many = [make.options(**on(host)).remote(i, 200_000) for i in range(20) for host in (one, two)]
assert [total_of(x) for x in ray.get(many, timeout=60)] == [
    expected(i) for i in range(20) for _ in range(2)
]
values = [total_of(ray.get(x)) for x in stream.options(**on(one)).remote(5)]
assert values == [expected(i) for i in range(5)]
# Actors with arrays and refs as state; one outlives the driver's own refs.
keeper = Keeper.options(**on(one)).remote(far, [mine])
assert ray.get(keeper.total.remote(), timeout=30) == expected(3)
other = Keeper.options(**on(two)).remote()
ray.get(other.keep.remote([mine, theirs, far]), timeout=30)
before = ray.get(theirs)
del mine, theirs, far, many, values
gc.collect()
time.sleep(0.3)
assert ray.get(other.sums.remote(), timeout=30) == [expected(2), expected(1), expected(3)]
back = ray.get(other.give.remote(), timeout=30)
assert [total_of(x) for x in ray.get(back, timeout=30)] == [expected(2), expected(1), expected(3)]
assert total_of(before) == expected(1)  # a view keeps its bytes
print("used", flush=True)
sys.stdin.readline()
ray.get([other.forget.remote()])
del before, back, keeper, other, sums
gc.collect()
print("let go", flush=True)
sys.stdin.readline()
ray.shutdown()
