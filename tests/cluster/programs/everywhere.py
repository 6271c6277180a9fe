"""One program for every kind of cluster: its results are the same wherever it runs."""

import json
import sys

import numpy as np

import ray_on_dask as ray


@ray.remote
def fib(number):
    if number < 2:
        return number
    return sum(ray.get([fib.remote(number - 1), fib.remote(number - 2)]))


@ray.remote
def block(seed):
    return np.random.RandomState(seed).rand(300, 300)


@ray.remote
def product(left, right):
    return left @ right


@ray.remote
def total_of(array):
    return int(array.sum())


@ray.remote(num_returns="streaming")
def rows(array):
    for row in array[:5]:
        yield float(row.sum())


@ray.remote(num_cpus=0)
class Tally:
    def __init__(self):
        self.words = {}

    def add(self, text):
        for word in text.split():
            self.words[word] = self.words.get(word, 0) + 1

    def result(self):
        return dict(sorted(self.words.items()))


@ray.remote
def count(tally, text):
    ray.get(tally.add.remote(text))
    return len(text.split())


@ray.remote(max_retries=0)
def fails(number):
    raise ValueError(f"number {number}")


def work():
    """Tasks within tasks, arrays, generators, actors called by tasks, errors."""
    blocks = [block.remote(seed) for seed in range(4)]
    total = product.remote(product.remote(blocks[0], blocks[1]), product.remote(*blocks[2:]))
    shared = ray.put(np.arange(500_000))
    tally = Tally.remote()
    texts = ["to be or not to be", "to see or not to see", "be that as it may"]
    counts = ray.get([count.remote(tally, text) for text in texts])
    try:
        ray.get(fails.remote(3))
        error = ""
    except ValueError as found:
        error = str(found).strip().splitlines()[-1]
    ready, rest = ray.wait([block.remote(seed) for seed in range(6)], num_returns=6)
    return {
        "fib": ray.get(fib.remote(5)),
        "trace": round(float(np.trace(ray.get(total))), 3),
        "rows": [round(ray.get(ref), 6) for ref in rows.remote(blocks[1])],
        "shared": ray.get([total_of.remote(shared) for _ in range(4)]),
        "counts": counts,
        "words": ray.get(tally.result.remote()),
        "error": error,
        "ready": [len(ready), len(rest)],
    }


if __name__ == "__main__":
    ray.init(*sys.argv[1:])
    print(json.dumps(work(), sort_keys=True))
    ray.shutdown()
