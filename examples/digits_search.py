"""Random hyper-parameter search with cross-validation over scikit-learn's handwritten digits.

The data are `put` once. A task for each candidate launches a task for each fold and
averages their scores; `wait` hands the candidates over as they finish. At the end the
same candidates are scored by the same function in this process alone.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from _common import Cluster, Steps, compare, console, parser, runs_on_ray
from rich.table import Table
from threadpoolctl import threadpool_limits

if runs_on_ray():
    import ray
else:
    import ray_on_dask as ray

EXAMPLES = """\
  python examples/digits_search.py
  python examples/digits_search.py --candidates 100 --seed 7
  python examples/digits_search.py --address tcp://scheduler:8786
  python examples/digits_search.py --module ray          the same program on Ray"""

#: The arrays of the data set and the rows of each fold: (images, labels, [(train, test), ...]).
Data = tuple[np.ndarray, np.ndarray, list[tuple[np.ndarray, np.ndarray]]]


@dataclass(frozen=True)
class Candidate:
    """A model and its parameters."""

    number: int
    model: str
    parameters: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.model}({', '.join(f'{k}={v}' for k, v in self.parameters.items())})"


def candidates(count: int, seed: int) -> list[Candidate]:
    """Draw `count` candidates; the same ones for the same seed."""
    draw = random.Random(seed)

    def log_uniform(low: float, high: float) -> float:
        return float(f"{low * (high / low) ** draw.random():.3g}")

    def parameters(model: str) -> dict[str, Any]:
        if model == "SVC":
            return {"C": log_uniform(0.1, 100), "gamma": log_uniform(0.01, 2)}
        if model == "LogisticRegression":
            return {"C": log_uniform(0.01, 100), "max_iter": 300}
        return {
            "n_estimators": draw.randrange(20, 100, 20),
            "max_features": draw.choice(["sqrt", "log2", 0.3]),
            "random_state": draw.randrange(1000),
        }

    models = [draw.choice(["SVC", "ExtraTrees", "LogisticRegression"]) for _ in range(count)]
    return [Candidate(i, model, parameters(model)) for i, model in enumerate(models)]


def build(candidate: Candidate) -> Any:
    """The estimator that `candidate` describes. Imports here, so only who fits pays for it."""
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.svm import SVC

    kinds = {"SVC": SVC, "ExtraTrees": ExtraTreesClassifier}
    return kinds.get(candidate.model, LogisticRegression)(**candidate.parameters)


def score(candidate: Candidate, fold: int, data: Data) -> float:
    """Accuracy on one fold, with one BLAS thread: tasks and baseline both call this."""
    images, labels, folds = data
    train, test = folds[fold]
    with threadpool_limits(limits=1):
        model = build(candidate).fit(images[train], labels[train])
        return float(model.score(images[test], labels[test]))


@ray.remote
def score_fold(candidate: Candidate, fold: int, data: Data) -> tuple[float, int]:
    """One fold as a task: its accuracy, and the process it ran in."""
    return score(candidate, fold, data), os.getpid()


@ray.remote
def score_candidate(
    candidate: Candidate, folds: int, data: list[ray.ObjectRef]
) -> tuple[Candidate, float, set[int]]:
    """All folds of a candidate, each a task of its own: their mean, and the processes used.

    The data come as a ref in a list, so that this task hands them on and never loads them.
    """
    done = ray.get([score_fold.remote(candidate, fold, data[0]) for fold in range(folds)])
    accuracies, pids = zip(*done, strict=True)
    return candidate, sum(accuracies) / folds, {*pids, os.getpid()}


def load(folds: int, rows: int | None) -> Data:
    """The digits, scaled to 0..1, and the rows of `folds` stratified folds."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import StratifiedKFold

    images, labels = load_digits(return_X_y=True)
    images, labels = images[:rows] / 16.0, labels[:rows]
    split = StratifiedKFold(folds, shuffle=True, random_state=0).split(images, labels)
    return images, labels, list(split)


def search(
    cluster: Cluster, tried: Sequence[Candidate], data: Data
) -> tuple[dict[int, float], dict[str, Any]]:
    """Score all candidates on the cluster: {number: accuracy}, and what the cluster did."""
    folds = len(data[2])
    shared = ray.put(data)
    pending = [score_candidate.remote(candidate, folds, [shared]) for candidate in tried]
    scores: dict[int, float] = {}
    used: set[int] = set()
    best, leader = 0.0, ""
    with Steps("searching", len(tried)) as steps:
        while pending:
            ready, pending = ray.wait(pending, num_returns=1)
            candidate, accuracy, pids = ray.get(ready[0])
            scores[candidate.number] = accuracy
            used |= pids
            if accuracy > best:
                best, leader = accuracy, str(candidate)
            steps.step(note=f"best {best:.4f} {leader}")
    return scores, {"tasks": len(tried) * (1 + folds), "pids": used}


def search_here(tried: Sequence[Candidate], data: Data) -> dict[int, float]:
    """The same in this process alone."""
    folds = len(data[2])
    scores = {}
    with Steps("one process", len(tried)) as steps:
        for candidate in tried:
            accuracies = [score(candidate, fold, data) for fold in range(folds)]
            scores[candidate.number] = sum(accuracies) / folds
            steps.step()
    return scores


def show(tried: Sequence[Candidate], scores: dict[int, float], rows: int = 8) -> None:
    """Print the best candidates, best first."""
    table = Table(title=f"The best of {len(tried)} candidates")
    for heading in ("accuracy", "model"):
        table.add_column(heading)
    for candidate in sorted(tried, key=lambda c: (-scores[c.number], c.number))[:rows]:
        table.add_row(f"{scores[candidate.number]:.4f}", str(candidate))
    console.print(table)


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Run the search and print it; give scores of both runs, speed-up, tasks, pids, nodes."""
    switches = parser(__doc__ or "", EXAMPLES)
    switches.add_argument("--candidates", type=int, help="how many to try (24)")
    switches.add_argument("--folds", type=int, default=5, help="of the cross-validation (5)")
    switches.add_argument("--seed", type=int, default=0, help="of the candidates drawn (0)")
    options = switches.parse_args(arguments)
    tried = candidates(options.candidates or (6 if options.small else 24), options.seed)
    data = load(options.folds, 400 if options.small else None)

    with Cluster(ray, options) as cluster:
        start = time.perf_counter()
        scores, did = search(cluster, tried, data)
        parallel = time.perf_counter() - start
        show(tried, scores)
        figures = cluster.report(**did)
    start = time.perf_counter()
    here = search_here(tried, data)
    serial = time.perf_counter() - start
    remark = "one BLAS thread per process in both; executors import scikit-learn within the time"
    speedup = compare(parallel, serial, scores == here, remark)
    return {"scores": scores, "serial_scores": here, "speedup": speedup, **figures}


if __name__ == "__main__":
    main()
