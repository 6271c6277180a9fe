"""A neural network trained by a parameter server, on scikit-learn's handwritten digits.

The server is an actor that holds the weights. Workers, actors too, each have a part of the images
and compute gradients. Synchronously all workers compute with the same weights, and their mean
gradient is applied. Asynchronously each gradient is applied when it comes, and only its
worker gets the new weights. Both have to reach the accuracy that is stated on images that
no worker has seen.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from _common import Cluster, Steps, parser, runs_on_ray, say

if runs_on_ray():
    import ray
else:
    import ray_on_dask as ray

EXAMPLES = """\
  python examples/parameter_server.py
  python examples/parameter_server.py --workers 4 --rounds 300
  python examples/parameter_server.py --address tcp://scheduler:8786
  python examples/parameter_server.py --module ray          the same program on Ray"""

#: What both ways of training must reach on the images held back.
ACCURACY = 0.93
HIDDEN, CLASSES = 48, 10
#: Images for one gradient.
BATCH = 64

Weights = list[np.ndarray]


def load() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """The digits, scaled to 0..1 and shuffled: those to train with, and a quarter held back."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    images, labels = images[order] / 16.0, labels[order]
    cut = len(images) * 3 // 4
    return (images[:cut], labels[:cut]), (images[cut:], labels[cut:])


# -- the network: one hidden layer, in NumPy ------------------------------------------------


def initial(inputs: int, seed: int) -> Weights:
    """Random weights and zero biases."""
    draw = np.random.default_rng(seed)
    sizes = [(inputs, HIDDEN), (HIDDEN, CLASSES)]
    made: Weights = []
    for rows, columns in sizes:
        made.append(draw.normal(0.0, np.sqrt(2.0 / rows), (rows, columns)))
        made.append(np.zeros(columns))
    return made


def forward(weights: Weights, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the hidden layer gives, and the probabilities of the classes."""
    first, bias, second, offset = weights
    hidden = np.maximum(images @ first + bias, 0.0)
    scores = hidden @ second + offset
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return hidden, powers / powers.sum(axis=1, keepdims=True)


def gradient(weights: Weights, images: np.ndarray, labels: np.ndarray) -> Weights:
    """Of the mean cross-entropy, by each weight."""
    hidden, off = forward(weights, images)
    off[np.arange(len(labels)), labels] -= 1.0
    off /= len(labels)
    back = (off @ weights[2].T) * (hidden > 0)
    return [images.T @ back, back.sum(axis=0), hidden.T @ off, off.sum(axis=0)]


def accuracy(weights: Weights, images: np.ndarray, labels: np.ndarray) -> float:
    """The part of the images that the network takes for what they are."""
    return float((forward(weights, images)[1].argmax(axis=1) == labels).mean())


# -- who trains it ----------------------------------------------------------------------------


@ray.remote(num_cpus=0)
class ParameterServer:
    """Holds the weights, and takes steps down the gradients that it is given."""

    def __init__(self, inputs: int, rate: float, seed: int) -> None:
        self.weights = initial(inputs, seed)
        self.speeds = [np.zeros_like(array) for array in self.weights]
        self.rate = rate

    def apply(self, *gradients: Weights) -> Weights:
        """A step down their mean, with momentum; the new weights."""
        for place, speed in enumerate(self.speeds):
            mean = sum(each[place] for each in gradients) / len(gradients)
            speed *= 0.9
            speed -= self.rate * mean
            self.weights[place] = self.weights[place] + speed
        return self.weights

    def get(self) -> Weights:
        """The weights as they are."""
        return self.weights


@ray.remote(num_cpus=0)
class Worker:
    """Has some of the images, and computes gradients on random ones of them."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, seed: int) -> None:
        self.images, self.labels = images, labels
        self.draw = np.random.default_rng(seed)

    def gradient(self, weights: Weights) -> Weights:
        """On a random batch."""
        rows = self.draw.integers(len(self.images), size=BATCH)
        return gradient(weights, self.images[rows], self.labels[rows])

    def pid(self) -> int:
        """The process it lives in."""
        return os.getpid()


def train_in_rounds(server: Any, workers: Sequence[Any], rounds: int) -> None:
    """Each round the gradients of all workers, by the same weights, make one step."""
    weights = server.get.remote()
    with Steps("in rounds", rounds) as steps:
        for number in range(rounds):
            # Refs all the way: neither weights nor gradients come through this process.
            weights = server.apply.remote(*[worker.gradient.remote(weights) for worker in workers])
            if number % 20 == 19:
                ray.get(weights)
            steps.step()
        ray.get(weights)


def train_as_they_come(server: Any, workers: Sequence[Any], gradients: int) -> None:
    """Each gradient makes a step as soon as it is there; its worker goes on with the outcome."""
    weights = server.get.remote()
    working = {worker.gradient.remote(weights): worker for worker in workers}
    with Steps("as they come", gradients) as steps:
        for number in range(gradients):
            (ready,), _ = ray.wait(list(working), num_returns=1)
            worker = working.pop(ready)
            weights = server.apply.remote(ready)
            if number < gradients - len(workers):
                working[worker.gradient.remote(weights)] = worker
            steps.step()
    ray.get(weights)


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Train in both ways and print what they reach; give accuracies, calls, pids, nodes."""
    switches = parser(__doc__ or "", EXAMPLES)
    switches.add_argument("--workers", type=int, default=2, help="that compute gradients (2)")
    switches.add_argument("--rounds", type=int, help="of synchronous training (200)")
    switches.add_argument("--rate", type=float, default=0.05, help="of learning (0.05)")
    options = switches.parse_args(arguments)
    rounds = options.rounds or (120 if options.small else 200)
    count = options.workers
    (images, labels), held_back = load()
    reached: dict[str, float] = {}
    with Cluster(ray, options) as cluster:
        workers = [
            Worker.remote(images[place::count], labels[place::count], place)
            for place in range(count)
        ]
        for name, train, steps in (
            ("in rounds", train_in_rounds, rounds),
            ("as they come", train_as_they_come, rounds * count),
        ):
            # A step by one worker's gradient is noisier than one by the mean of all.
            rate = options.rate / (count if train is train_as_they_come else 1)
            server = ParameterServer.remote(images.shape[1], rate, seed=1)
            start = time.perf_counter()
            train(server, workers, steps)
            seconds = time.perf_counter() - start
            reached[name] = accuracy(ray.get(server.get.remote()), *held_back)
            say(
                f"{name}: {rounds * count} gradients in {seconds:.2f} s, "
                f"accuracy {reached[name]:.4f}"
            )
        pids = ray.get([worker.pid.remote() for worker in workers])
        figures = cluster.report(tasks=2 * rounds * count, pids=pids)
    for name, value in reached.items():
        if value < ACCURACY:
            raise SystemExit(f"{name}: accuracy {value:.4f} is below {ACCURACY}")
    say(f"both are above {ACCURACY}")
    return {"accuracy": reached, **figures}


if __name__ == "__main__":
    main()
