"""A Dask DataFrame through Ray actors and back: which handwritten digits are taken for which.

The images of scikit-learn's digits are the rows of a Dask DataFrame. Actors fit a model once
each and then read partitions where Dask has computed them, in shared memory; what they predict
is a Dask DataFrame again, from which Dask counts the mistakes. At the end pandas alone does the
same.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import dask.dataframe as dd
import numpy as np
import pandas as pd
from _common import compare, console, parser, say
from distributed import Client, LocalCluster
from rich.table import Table

import ray_on_dask as ray
from ray_on_dask.util.dask import from_dask, to_dask

EXAMPLES = """\
  python examples/frame_to_actors.py
  python examples/frame_to_actors.py --partitions 16 --actors 4
  python examples/frame_to_actors.py --address tcp://scheduler:8786"""

#: What a partition of predictions looks like.
PREDICTED = pd.DataFrame({"digit": np.zeros(0, np.int64), "taken_for": np.zeros(0, np.int64)})


def images() -> pd.DataFrame:
    """Half of the digits, to be looked at: a row each, its pixels and what it is."""
    return _digits().iloc[1::2].reset_index(drop=True)


def examples() -> pd.DataFrame:
    """The other half, to learn from."""
    return _digits().iloc[::2]


def _digits() -> pd.DataFrame:
    from sklearn.datasets import load_digits

    found: pd.DataFrame = load_digits(as_frame=True).frame
    return found


class Reader:
    """A model that has learned to read digits."""

    def __init__(self, learn_from: pd.DataFrame):
        from sklearn.svm import SVC

        self.model = SVC(gamma=0.001)
        self.model.fit(learn_from.drop(columns="target").to_numpy(), learn_from["target"])

    def read(self, rows: pd.DataFrame) -> pd.DataFrame:
        """What each row is, and what it is taken for."""
        pixels = rows.drop(columns="target").to_numpy()
        taken_for = self.model.predict(pixels).astype(np.int64)
        return pd.DataFrame({"digit": rows["target"].to_numpy(), "taken_for": taken_for})


def mistakes(predicted: Any) -> Any:
    """{(digit, what it was taken for): how often}, of a DataFrame of either kind."""
    wrong = predicted[predicted["digit"] != predicted["taken_for"]]
    return wrong.groupby(["digit", "taken_for"]).size()


def with_actors(client: Client, partitions: int, actors: int) -> tuple[dict[Any, int], int]:
    """The mistakes by Dask and actors, and on how many nodes the partitions were stored."""
    frame = dd.from_pandas(images(), npartitions=partitions)
    shared = ray.put(examples())
    readers = [ray.remote(Reader).remote(shared) for _ in range(actors)]
    refs = from_dask(frame, client)
    read = [readers[i % actors].read.remote(ref) for i, ref in enumerate(refs)]
    predicted = to_dask(read, meta=PREDICTED, client=client)  # nothing is waited for up to here
    counts = client.compute(mistakes(predicted)).result()
    return dict(counts.sort_index()), sum(node["Alive"] for node in ray.nodes())


def show(counts: dict[Any, int]) -> None:
    """Print the mistakes, most frequent first."""
    table = Table(title="Digits taken for others")
    for heading in ("digit", "taken for", "times"):
        table.add_column(heading)
    for (digit, taken_for), times in sorted(counts.items(), key=lambda item: -item[1])[:8]:
        table.add_row(str(digit), str(taken_for), str(times))
    console.print(table)


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Do it by actors and by pandas alone; give the mistakes of both, and the nodes."""
    switches = parser(__doc__ or "", EXAMPLES)
    switches.add_argument("--partitions", type=int, default=8, help="of the DataFrame (8)")
    switches.add_argument("--actors", type=int, default=2, help="that read (2)")
    options = switches.parse_args(arguments)
    if options.module == "ray":
        switches.error("this example is about a Dask cluster: it does not run on Ray")
    with ExitStack() as ends:
        cluster: Any = options.address or ends.enter_context(
            LocalCluster(
                n_workers=1, threads_per_worker=options.num_cpus, dashboard_address="127.0.0.1:0"
            )
        )
        client = ends.enter_context(Client(cluster))
        ends.enter_context(ray.init(client))
        start = time.perf_counter()
        counts, nodes = with_actors(client, options.partitions, options.actors)
        parallel = time.perf_counter() - start
    start = time.perf_counter()
    here = dict(mistakes(Reader(examples()).read(images())).sort_index())
    serial = time.perf_counter() - start
    show(counts)
    say(f"{sum(counts.values())} of {len(images())} digits were misread, {options.actors} actors")
    compare(parallel, serial, counts == here, "a small problem: it shows the way, not the speed")
    return {"mistakes": counts, "pandas_mistakes": here, "nodes": nodes}


if __name__ == "__main__":
    main()
