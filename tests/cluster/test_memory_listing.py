"""What holds what: `internal.memory_summary`, and ``ray-on-dask memory``."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import ray_on_dask as ray
from ray_on_dask.api import memory_listing
from ray_on_dask.cli import main
from ray_on_dask.internal import free, memory_summary


@ray.remote(num_cpus=0)
class Holder:
    def hold(self, refs: list[Any]) -> int:
        self.refs = refs
        import os

        return os.getpid()


@ray.remote
def make(length: int = 100_000) -> np.ndarray:
    return np.zeros(length)


@pytest.fixture(scope="module")
def objects(ray_session: Any) -> Any:
    ray_session()
    made, inner = make.remote(), ray.put(np.zeros(50_000))
    outer, holder = ray.put([inner]), Holder.remote()
    pid = ray.get(holder.hold.remote([made, outer]), timeout=60)
    return made, inner, outer, holder, pid


def row_of(ref: Any) -> dict[str, Any]:
    return next(row for row in memory_listing.rows() if row["object_id"] == ref.hex())


def test_each_object_is_listed_with_its_owner_and_all_that_keep_it(objects: Any) -> None:
    made, inner, outer, _, pid = objects
    found = row_of(made)
    assert found["size"] > 800_000 and found["state"] == "STORED" and found["call_site"] == "make"
    assert found["type"] == "driver" and found["ip"] and found["node"]
    assert {holder["type"] for holder in found["holders"]} == {"driver", "executor"}
    assert pid in {holder["pid"] for holder in found["holders"]}
    assert row_of(inner)["contained_in"] == [outer.hex()]
    kinds = {row["reference_type"] for row in memory_listing.rows()}
    assert kinds == {"LOCAL_REFERENCE", "ACTOR_HANDLE"}


def test_the_summary_groups_sorts_and_sums_up(objects: Any) -> None:
    made = objects[0]
    text = memory_summary(group_by="STACK_TRACE", units="MB", num_entries=1)
    assert "stack trace: make" in text and made.hex() in text and "0.763 MB" in text
    assert made.hex() not in memory_summary(stats_only=True)
    with pytest.raises(ValueError, match=r"sort_by='SIZE'.*OBJECT_SIZE"):
        memory_summary(sort_by="SIZE")


def test_the_command_prints_the_same(objects: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import contextlib

    from ray_on_dask.cli import memory

    monkeypatch.setattr(memory, "joined", lambda address: contextlib.nullcontext())
    run = CliRunner().invoke
    assert objects[0].hex() in run(main, ["memory"], catch_exceptions=False).output
    listed = json.loads(run(main, ["memory", "--format", "json", "-n", "1"]).output)
    assert [row["object_id"] for row in listed] == [objects[0].hex()]


@pytest.mark.parametrize("length", [10, 100_000])
def test_freed_by_a_borrower_it_is_gone_for_its_owner_too(objects: Any, length: int) -> None:
    """And for those that had it already: nobody reads what lies there by now."""

    @ray.remote
    def free_it(refs: list[Any]) -> None:
        free(refs)

    ref = make.remote(length)
    ray.wait([ref], timeout=60.0)
    ray.get(free_it.remote([ref]), timeout=60)
    with pytest.raises(ray.exceptions.ObjectFreedError):
        while True:
            ray.get(ref, timeout=60)
